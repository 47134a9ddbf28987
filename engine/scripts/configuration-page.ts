import * as z from 'zod';
import { configSchema, environmentVariables } from '../src/config/index.ts';
import { code, markdownTable, pageHead } from './markdown.ts';

/** The part of JSON Schema that our schema becomes. */
interface Node {
  readonly type?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: Node;
  readonly anyOf?: readonly Node[];
  /** Blocks that differ by their `type`. */
  readonly oneOf?: readonly Node[];
  readonly properties?: Readonly<Record<string, Node>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Node | boolean;
}

export function configurationPage(): string {
  const schema = z.toJSONSchema(configSchema, { io: 'input', unrepresentable: 'any' }) as Node;
  return [
    ...pageHead('Configuration', 'engine/src/config/schema.ts'),
    '`helvino.yaml` is looked for in this order: `--config`, `HELVINO_CONFIG`, `./helvino.yaml`, `/etc/helvino/helvino.yaml`. Relative',
    'paths in it are relative to its folder. An unknown key is an error, which names its line and column. Secrets are never in the',
    'file: it names the environment variable or the file that holds them. Sizes are written `50 MiB`, `1.5GB` or in bytes; durations',
    '`30s`, `15m`, `24h`, `7d`. `helvino config check` checks the file, `helvino config show` shows it with all defaults.',
    '',
    '```yaml',
    'version: 1',
    'repositories:',
    '  main:',
    '    storage: { type: fs, path: /var/backups/helvino }',
    '    recipients: [age1...]',
    '    catalogKey: { file: ./helvino.catalog.key }',
    'databases:',
    '  shop:',
    '    connection: { url: "postgresql://backup@db/postgres", password: { env: SHOP_PASSWORD } }',
    '    repository: main',
    '```',
    '',
    ...markdownTable(['key', 'value', 'default', 'meaning'], rowsOf(schema, '', true)),
    '## Environment variables',
    '',
    ...markdownTable(
      ['variable', 'meaning'],
      Object.entries(environmentVariables).map(([name, meaning]) => [code(name), meaning]),
    ),
  ].join('\n');
}

function rowsOf(node: Node, path: string, needed: boolean): string[][] {
  const inner = innerNodes(node, path).flatMap(([name, child, required]) => rowsOf(child, name, required));
  if (path === '' || (node.description === undefined && inner.length > 0)) return inner;
  if (node.description === undefined) throw new Error(`${path} has no description in the schema`);
  return [[code(path), shapeOf(node), presetOf(node, needed), node.description], ...inner];
}

function innerNodes(node: Node, path: string): [path: string, node: Node, needed: boolean][] {
  if (node.oneOf) return node.oneOf.flatMap((one) => innerNodes(one, path));
  const at = path === '' ? '' : `${path}.`;
  if (node.items?.properties) return innerNodes(node.items, `${at}N`);
  const { properties, additionalProperties: any } = node;
  if (properties)
    return Object.entries(properties).map(([key, child]) => [
      `${at}${key}`,
      child,
      node.required?.includes(key) ?? false,
    ]);
  return typeof any === 'object' ? [[`${at}NAME`, any, true]] : [];
}

function shapeOf(node: Node): string {
  if (node.const !== undefined) return code(String(node.const));
  if (node.enum) return node.enum.map((value) => code(String(value))).join(', ');
  if (node.anyOf?.every(({ properties }) => properties))
    return node.anyOf
      .map(({ properties }) => code(`{ ${Object.keys(properties!).join(', ')} }`))
      .join(' or ');
  if (node.type === 'array' && node.items?.properties) return 'a list of blocks';
  if (node.type === 'array') return `a list of ${shapeOf(node.items ?? {})}s`;
  if (node.minimum !== undefined && node.maximum !== undefined) return `${node.minimum} to ${node.maximum}`;
  if (node.oneOf) return 'a block';
  if (node.type === 'object') return node.properties ? 'a block' : 'blocks by name';
  if (node.type === 'boolean') return '`true`, `false`';
  return node.type === 'string' ? 'text' : 'text or number';
}

function presetOf(node: Node, needed: boolean): string {
  if (needed) return '(needed)';
  if (node.default === undefined || typeof node.default === 'object') return '';
  return code(String(node.default));
}
