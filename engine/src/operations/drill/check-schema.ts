/** Is the schema that was restored the one that the backup recorded of its source? And its extensions? */
import { plural } from '../../base/format.ts';
import {
  type ConnectionParams,
  comparePairs,
  readSchemaFacts,
  type SchemaFacts,
} from '../../postgres/index.ts';
import type { Manifest, Repository } from '../../repository/index.ts';
import type { SourceSchema } from '../backup/describe-source.ts';
import { forEachDatabase } from './check-databases.ts';
import { type Check, findings } from './report.ts';

export interface SchemaOptions {
  readonly repository: Repository;
  readonly manifest: Manifest;
  readonly connection: ConnectionParams;
  /** Why what was restored may differ from what was recorded; undefined when it must not. */
  readonly later: string | undefined;
  /** A dump is made again by the server that it is loaded into, which prints some expressions in another way. */
  readonly dumped: boolean;
}

interface Restored extends SchemaFacts {
  readonly database: string;
}

/** `extensions` and `schema`. */
export async function checkSchema(options: SchemaOptions): Promise<Omit<Check, 'seconds'>[]> {
  const restored: Restored[] = [];
  await forEachDatabase(options.connection, async (client, database) => {
    restored.push({ database, ...(await readSchemaFacts(client)) });
  });
  const recorded: SourceSchema[] = [];
  for await (const value of options.repository.section(options.manifest, 'schema'))
    recorded.push(value as SourceSchema);
  if (recorded.length === 0) {
    const detail = 'the backup does not say what its source had: an older version made it';
    const unproven = { state: 'unproven' as const, detail };
    return [
      { name: 'extensions', ...unproven },
      { name: 'schema', ...unproven },
    ];
  }
  const compare = (of: (facts: SchemaFacts) => SchemaFacts['objects']) =>
    compareAll({ recorded, restored, of });
  const extensions = compare((facts) => facts.extensions);
  const schema = compare((facts) => facts.objects);
  return [
    { name: 'extensions', ...outcome(extensions, options, 'extension') },
    { name: 'schema', ...outcome(schema, options, 'object') },
  ];
}

interface Compared {
  readonly looked: number;
  readonly missing: readonly string[];
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly unproven: readonly string[];
}

function compareAll({
  recorded,
  restored,
  of,
}: {
  recorded: readonly SourceSchema[];
  restored: readonly Restored[];
  of: (facts: SchemaFacts) => SchemaFacts['objects'];
}): Compared {
  const sums = {
    looked: 0,
    missing: [] as string[],
    added: [] as string[],
    changed: [] as string[],
    unproven: [] as string[],
  };
  for (const source of recorded) {
    const { database } = source;
    if ('unproven' in source) {
      sums.unproven.push(`${database}: it could not be read when the backup was made: ${source.unproven}`);
      continue;
    }
    const there = restored.find((one) => one.database === database);
    if (!there) {
      sums.missing.push(`the database ${database}`);
      continue;
    }
    const found = comparePairs(of(source), of(there));
    sums.looked += of(source).length;
    for (const kind of ['missing', 'added', 'changed'] as const)
      sums[kind].push(...found[kind].map((name) => `${database}: ${name}`));
  }
  return sums;
}

function outcome(
  { looked, missing, added, changed, unproven }: Compared,
  { later, dumped }: SchemaOptions,
  what: string,
): Omit<Check, 'name' | 'seconds'> {
  const lines = [
    ...missing.map((name) => `${name} is missing`),
    ...added.map((name) => `${name} is not in the source`),
    ...changed.map((name) => `${name} is another`),
  ];
  const all = plural(looked, what);
  const shown = { findings: findings([...lines, ...unproven]) };
  // What a dump prints in another way is no proof of a difference, what it lacks is.
  const wrong = dumped ? missing.length + added.length : lines.length;
  if (wrong > 0 && later === undefined)
    return { state: 'failed', detail: `${lines.length} differ from the source (${all})`, ...shown };
  if (lines.length > 0)
    return {
      state: 'unproven',
      detail: `${lines.length} differ from the backup's record (${all}): ${later ?? 'a dump prints some definitions in another way'}`,
      ...shown,
    };
  if (unproven.length > 0) return { state: 'unproven', detail: `${all}, not all of them`, ...shown };
  return { state: 'passed', detail: `${all}, equal to the source` };
}
