/** Checks of every database of a restored server that need no knowledge of the backup: constraints and sequences. */
import type { Client } from 'pg';
import { plural } from '../../base/format.ts';
import {
  type ConnectionParams,
  checkConstraints,
  checkSequences,
  connectSql,
  openDatabases,
} from '../../postgres/index.ts';
import { type Check, type CheckQuery, findings, shownQueries } from './report.ts';

type Outcome = Omit<Check, 'name' | 'seconds'>;

/** Calls `look` for each database that can be connected to. */
export async function forEachDatabase(
  connection: ConnectionParams,
  look: (client: Client, database: string) => Promise<void>,
): Promise<void> {
  for (const database of await openDatabases(connection)) {
    const client = await connectSql(connection, { database });
    try {
      await look(client, database);
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}

/** Orphans of every foreign key, and rows that break a check or are null where they must not be. */
export async function constraintsOf(connection: ConnectionParams, signal: AbortSignal): Promise<Outcome> {
  const sums = { foreignKeys: 0, checks: 0, notNulls: 0 };
  const broken: string[] = [];
  const unproven: string[] = [];
  const queries: CheckQuery[] = [];
  await forEachDatabase(connection, async (client, database) => {
    const found = await checkConstraints(client, signal);
    sums.foreignKeys += found.foreignKeys;
    sums.checks += found.checks;
    sums.notNulls += found.notNulls;
    broken.push(...found.broken.map((line) => `${database}: ${line}`));
    unproven.push(...found.unproven.map((line) => `${database}: ${line}`));
    queries.push(...found.queries);
  });
  const looked = `${plural(sums.foreignKeys, 'foreign key')}, ${plural(sums.checks, 'check')}, ${plural(sums.notNulls, 'column')} not null`;
  return verdict({ wrong: broken, unproven, looked, queries, words: 'are broken' });
}

export async function sequencesOf(connection: ConnectionParams, signal: AbortSignal): Promise<Outcome> {
  const behind: string[] = [];
  const unproven: string[] = [];
  const queries: CheckQuery[] = [];
  let looked = 0;
  await forEachDatabase(connection, async (client, database) => {
    const found = await checkSequences(client, signal);
    looked += found.looked;
    behind.push(...found.behind.map((line) => `${database}: ${line}`));
    unproven.push(...found.unproven.map((line) => `${database}: ${line}`));
    queries.push(...found.queries);
  });
  return verdict({
    wrong: behind,
    unproven,
    looked: plural(looked, 'numbered column'),
    queries,
    words: 'would give a number that is taken',
  });
}

interface Verdict {
  readonly wrong: readonly string[];
  readonly unproven: readonly string[];
  /** What was looked at. */
  readonly looked: string;
  /** What is said of those that are wrong. */
  readonly words: string;
  readonly queries: readonly CheckQuery[];
}

function verdict({ wrong, unproven, looked, words, queries }: Verdict): Outcome {
  const shown = { queries: shownQueries(queries) };
  if (wrong.length > 0)
    return {
      state: 'failed',
      detail: `${wrong.length} ${words} (${looked})`,
      findings: findings(wrong),
      ...shown,
    };
  if (unproven.length > 0)
    return {
      state: 'unproven',
      detail: `${looked}; of ${unproven.length} it cannot be said`,
      findings: findings(unproven),
      ...shown,
    };
  return { state: 'passed', detail: looked, ...shown };
}
