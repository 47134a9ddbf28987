/** Finds, reads and checks helvino.yaml. */
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { type Document, isNode, LineCounter, parseDocument } from 'yaml';
import type * as z from 'zod';
import { HelvinoError, systemCode } from '../base/errors.ts';
import type { DrillPlan } from './drills.ts';
import type { Environment } from './env.ts';
import { type Config, configSchema, type DatabaseConfig, type RepositoryConfig } from './schema.ts';

export interface LoadedConfig {
  readonly config: Config;
  /** Absolute path of the file. */
  readonly file: string;
  /** Its folder: what relative paths in it are relative to. */
  readonly directory: string;
}

/** In order: `--config`, `HELVINO_CONFIG`, `./helvino.yaml`, `/etc/helvino/helvino.yaml`. */
function configPlaces({ file, env, cwd }: { file?: string; env: Environment; cwd: string }): string[] {
  if (file !== undefined) return [resolve(cwd, file)];
  if (env.HELVINO_CONFIG) return [resolve(cwd, env.HELVINO_CONFIG)];
  return [resolve(cwd, 'helvino.yaml'), '/etc/helvino/helvino.yaml'];
}

/** Throws CONFIG_NOT_FOUND, CONFIG_INVALID. */
export async function loadConfig(options: {
  file?: string;
  env: Environment;
  cwd: string;
}): Promise<LoadedConfig> {
  const places = configPlaces(options);
  for (const file of places) {
    const text = await readFile(file, 'utf8').catch((thrown: unknown) => {
      if (systemCode(thrown) === 'ENOENT') return undefined;
      throw new HelvinoError('CONFIG_INVALID', `${file} cannot be read: ${(thrown as Error).message}`, {
        cause: thrown,
        hint: 'it has to be a file that this user may read; --config names another',
      });
    });
    if (text !== undefined) return { config: parseConfig(text, file), file, directory: dirname(file) };
  }
  throw new HelvinoError(
    'CONFIG_NOT_FOUND',
    `no configuration was found; looked at ${places.join(' and ')}`,
    {
      hint: 'make one with `helvino init`, or name it with --config',
      context: { places },
    },
  );
}

export function parseConfig(text: string, file: string): Config {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const [error] = document.errors;
  if (error) {
    const at = lines.linePos(error.pos[0]);
    throw new HelvinoError(
      'CONFIG_INVALID',
      `${file}:${at.line}:${at.col}: ${error.message.split(' at line ')[0]}`,
      { hint: 'this is not valid YAML' },
    );
  }
  const parsed = configSchema.safeParse(plainValue(document, file));
  if (!parsed.success) throw invalid(parsed.error, { document, lines, file });
  checkReferences(parsed.data, file);
  return parsed.data;
}

/** An alias to nothing, or too many aliases, come to light only here. */
function plainValue(document: Document, file: string): unknown {
  try {
    return document.toJS();
  } catch (cause) {
    throw new HelvinoError('CONFIG_INVALID', `${file}: ${(cause as Error).message}`, {
      cause,
      hint: 'this is not valid YAML',
    });
  }
}

function invalid(
  error: z.ZodError,
  { document, lines, file }: { document: Document; lines: LineCounter; file: string },
): HelvinoError {
  const problems = error.issues.map((issue) => {
    const inside = issue.code === 'unrecognized_keys' ? issue.keys.slice(0, 1) : [];
    const at = placeOf(document, lines, [...issue.path, ...inside] as (string | number)[]);
    const path = issue.path.join('.') || 'the file';
    return `${file}${at}: ${path}: ${describe(issue)}`;
  });
  const unknown = error.issues.flatMap((issue) => (issue.code === 'unrecognized_keys' ? issue.keys : []));
  const known = error.issues.length > 0 && unknown.length > 0 ? suggest(unknown[0]!) : undefined;
  return new HelvinoError('CONFIG_INVALID', problems.join('; '), {
    hint: known
      ? `did you mean "${known}"? all keys are in docs/reference/configuration.md`
      : 'all keys are in docs/reference/configuration.md',
    context: { problems },
  });
}

function describe(issue: z.core.$ZodIssue): string {
  if (issue.code === 'unrecognized_keys') return `unknown ${issue.keys.map((key) => `"${key}"`).join(', ')}`;
  if (issue.code === 'invalid_key') return issue.issues.map(({ message }) => message).join(', ');
  if (issue.message.endsWith('received undefined')) return 'is missing';
  if (issue.message.endsWith('received null')) return 'is empty';
  return issue.message.charAt(0).toLowerCase() + issue.message.slice(1);
}

/** `:line:column` of the deepest part of the path that is in the file. */
function placeOf(document: Document, lines: LineCounter, path: readonly (string | number)[]): string {
  for (let length = path.length; length >= 0; length--) {
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) {
      const at = lines.linePos(node.range[0]);
      return `:${at.line}:${at.col}`;
    }
  }
  return '';
}

const knownKeys = [
  'wal',
  'slot',
  'every',
  'synchronous',
  'maxLag',
  'minRoom',
  'version',
  'repositories',
  'databases',
  'storage',
  'type',
  'path',
  'bucket',
  'prefix',
  'region',
  'endpoint',
  'pathStyle',
  'profile',
  'credentials',
  'accessKeyId',
  'secretAccessKey',
  'sessionToken',
  'role',
  'arn',
  'externalId',
  'storageClass',
  'packs',
  'wal',
  'other',
  'encryption',
  'keyId',
  'connections',
  'versions',
  'objectLock',
  'mode',
  'keep',
  'recipients',
  'catalogKey',
  'compression',
  'level',
  'connection',
  'url',
  'service',
  'password',
  'env',
  'file',
  'repository',
  'copies',
  'backup',
  'kind',
  'fullEvery',
  'checkpoint',
  'maxRate',
  'verifyChecksums',
  'read',
  'fingerprint',
  'fingerprintMaxBytes',
  'drill',
  'drills',
  'directory',
  'binDir',
  'fetchServers',
  'readyTimeout',
];

function suggest(wrong: string): string | undefined {
  const near = knownKeys
    .map((key) => ({ key, distance: editDistance(wrong.toLowerCase(), key.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0]!;
  return near.distance <= 2 ? near.key : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(next[j - 1]! + 1, row[j]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}

function checkReferences(config: Config, file: string): void {
  checkDrills(config, file);
  for (const [name, database] of Object.entries(config.databases)) {
    const wanted = [database.repository, ...database.copies];
    const unknown = wanted.find((repository) => !config.repositories[repository]);
    if (unknown === undefined) continue;
    throw new HelvinoError(
      'CONFIG_INVALID',
      `${file}: databases.${name}: there is no repository "${unknown}"`,
      {
        hint: `repositories: ${Object.keys(config.repositories).join(', ') || 'none'}`,
      },
    );
  }
}

function checkDrills(config: Config, file: string): void {
  for (const [name, plan] of Object.entries(config.drills)) {
    const fail = (problem: string, hint: string) =>
      new HelvinoError('CONFIG_INVALID', `${file}: drills.${name}: ${problem}`, { hint });
    const names = Object.keys(config.databases);
    const wanted = plan.database ?? (names.length === 1 ? names[0]! : undefined);
    const database = wanted === undefined ? undefined : config.databases[wanted];
    if (!database)
      throw fail(
        wanted === undefined ? 'it does not say which database' : `there is no database "${wanted}"`,
        `databases: ${names.join(', ') || 'none'}`,
      );
    const copies = [database.repository, ...database.copies];
    if (plan.copy !== undefined && !copies.includes(plan.copy))
      throw fail(`there is no copy "${plan.copy}" of ${wanted}`, `copies: ${copies.join(', ')}`);
    if (plan.kind !== 'physical' && !['latest', 'backup'].includes(plan.target))
      throw fail(`a ${plan.kind} backup has one state: no target`, 'leave `target` out');
  }
}

export interface ChosenPlan {
  readonly name: string;
  readonly plan: DrillPlan;
  /** The database that it is for. */
  readonly database: string;
}

/** All plans, in order of name. */
export function drillPlans({ config }: LoadedConfig): ChosenPlan[] {
  const [only = ''] = Object.keys(config.databases);
  return Object.entries(config.drills)
    .map(([name, plan]) => ({ name, plan, database: plan.database ?? only }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Throws USAGE with the names. */
export function choosePlan(loaded: LoadedConfig, wanted: string): ChosenPlan {
  const plans = drillPlans(loaded);
  const found = plans.find(({ name }) => name === wanted);
  if (found) return found;
  throw new HelvinoError('USAGE', `${loaded.file} has no drill plan "${wanted}"`, {
    hint:
      plans.length > 0
        ? `--plan ${plans.map(({ name }) => name).join(' | ')}`
        : 'add one under `drills:`; see docs/operations/monthly-drill.md',
  });
}

export interface ChosenDatabase {
  readonly name: string;
  readonly database: DatabaseConfig;
  readonly repositoryName: string;
  readonly repository: RepositoryConfig;
  /** The other copies. */
  readonly others: readonly { readonly name: string; readonly config: RepositoryConfig }[];
}

/** The one that is named, or the only one; `copy`: another copy of its repository. Throws USAGE with the names. */
export function chooseDatabase(
  { config, file }: LoadedConfig,
  wanted: string | undefined,
  copy?: string,
): ChosenDatabase {
  const names = Object.keys(config.databases);
  const name = wanted ?? (names.length === 1 ? names[0]! : undefined);
  const database = name === undefined ? undefined : config.databases[name];
  if (name !== undefined && database) {
    return { name, database, ...chooseCopy(config, { database, file, copy }) };
  }
  const message =
    wanted === undefined
      ? `${file} protects ${names.length} databases: say which one`
      : `${file} has no database "${wanted}"`;
  throw new HelvinoError('USAGE', message, {
    hint: `--database ${names.join(' | ') || '(none yet: helvino init)'}`,
  });
}

function chooseCopy(
  config: Config,
  { database, file, copy }: { database: DatabaseConfig; file: string; copy: string | undefined },
): Pick<ChosenDatabase, 'repositoryName' | 'repository' | 'others'> {
  const all = [database.repository, ...database.copies];
  const repositoryName = copy ?? database.repository;
  if (!all.includes(repositoryName))
    throw new HelvinoError('USAGE', `${file} has no copy "${repositoryName}" of this database`, {
      hint: `--copy ${all.join(' | ')}`,
    });
  return {
    repositoryName,
    repository: config.repositories[repositoryName]!,
    others: all
      .filter((name) => name !== repositoryName)
      .map((name) => ({ name, config: config.repositories[name]! })),
  };
}
