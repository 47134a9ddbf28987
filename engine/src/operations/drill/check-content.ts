/** Are the rows that were restored the rows that the source had? */

import { plural } from '../../base/format.ts';
import type { Progress } from '../../base/progress.ts';
import type { BackupFacts } from '../../catalog/index.ts';
import {
  type ComparedTable,
  type ConnectionParams,
  compareFingerprints,
  connectSql,
  fingerprintDatabase,
  openDatabases,
  quoteIdentifier,
  type TableFingerprint,
} from '../../postgres/index.ts';
import { type Check, type CheckQuery, findings, shownQueries } from './report.ts';

export interface RecordedTable extends TableFingerprint {
  readonly database: string;
}

export interface ContentOptions {
  readonly connection: ConnectionParams;
  readonly facts: Pick<BackupFacts, 'fingerprint'>;
  readonly recorded: readonly RecordedTable[];
  /** Why what is there may be newer than what was recorded; undefined when it must be the same. */
  readonly later?: string | undefined;
  /** False: rows are only counted. */
  readonly content?: boolean;
  /** Where a database of the source is now, if under another name. */
  readonly placeOf?: (database: string) => string;
  /** Other tables are not looked at. */
  readonly only?: (table: TableFingerprint) => boolean;
  /** Reads what is there; all that a physical backup has, if not given. */
  readonly readTables?: typeof fingerprintDatabase;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Two checks: row counts, and content. */
export async function checkContent(options: ContentOptions): Promise<Omit<Check, 'seconds'>[]> {
  const { facts, recorded } = options;
  if (facts.fingerprint.state === 'unproven') {
    const detail = `the source's content was not recorded: ${facts.fingerprint.reason ?? 'unknown'}`;
    return [
      { name: 'row counts', state: 'unproven', detail },
      { name: 'content', state: 'unproven', detail },
    ];
  }
  const changed: string[] = [];
  const wrongRows: string[] = [];
  const wrongContent: string[] = [];
  const skipped = facts.fingerprint.hiddenDatabases.map(
    (database) => `${database}: the backup's role could not connect to it, so its content was not recorded`,
  );
  const counts: (CheckQuery & { readonly rows: bigint })[] = [];
  let tables = 0;
  let hashed = 0;
  let rows = 0n;
  for (const database of new Set(recorded.map((table) => table.database))) {
    const wanted = options.only ?? (() => true);
    const source = recorded.filter((table) => table.database === database && wanted(table));
    const content = options.content !== false && source.some((table) => table.hash !== null);
    const restored = await readRestored(options, database, content);
    if (restored === undefined) {
      changed.push(`${database}: the database is not there any more`);
      continue;
    }
    for (const result of compareFingerprints(source, restored.filter(wanted))) {
      const name = `${database}: ${result.schema}.${result.table}`;
      if (result.restored?.rows) counts.push(countOf(database, result));
      if (result.state === 'unproven') skipped.push(`${name}: ${result.reason}`);
      else if (options.later !== undefined && result.state === 'different' && !result.restored?.damaged)
        changed.push(`${name}: ${changeWords(result)}`);
      else {
        tables++;
        rows += BigInt(result.source?.rows ?? 0);
        if (result.content === 'equal') hashed++;
        if (result.rows === 'different')
          wrongRows.push(
            `${name}: ${result.source?.rows ?? 'absent'} rows in the source, ${result.restored?.rows ?? 'absent'} restored`,
          );
        if (result.content === 'different') wrongContent.push(`${name}: content differs`);
      }
    }
  }
  const since = { changed, later: options.later };
  const largest = counts
    .sort((a, b) => (a.rows < b.rows ? 1 : -1))
    .map(({ sql, result }) => ({ sql, result }));
  return [
    {
      ...verdictLine('row counts', wrongRows, skipped, {
        looked: `${tables} tables, ${rows} rows`,
        ...since,
      }),
      queries: shownQueries(largest),
    },
    verdictLine(
      'content',
      [...wrongRows, ...wrongContent],
      hashed < tables ? [...skipped, `${tables - hashed} tables without a content hash`] : skipped,
      { looked: `content hash of ${hashed} tables`, ...since },
    ),
  ];
}

/** For a reader to repeat: what is there, and what the backup recorded of its source. */
function countOf(
  database: string,
  { schema, table, source, restored }: ComparedTable,
): CheckQuery & { readonly rows: bigint } {
  const rows = restored?.rows ?? '0';
  return {
    sql: `select count(*) from only ${quoteIdentifier(schema)}.${quoteIdentifier(table)} -- ${database}`,
    result: `${rows}; at the source ${source?.rows ?? 'not counted'}`,
    rows: BigInt(rows),
  };
}

function changeWords({ source, restored }: ComparedTable): string {
  if (!restored) return `it had ${source?.rows ?? '?'} rows, and is not there any more`;
  if (!source) return `it is new, with ${restored.rows ?? '?'} rows`;
  return source.rows === restored.rows
    ? `${source.rows} rows, with other content`
    : `${source.rows ?? '?'} rows then, ${restored.rows ?? '?'} now`;
}

function verdictLine(
  name: string,
  wrong: readonly string[],
  skipped: readonly string[],
  { looked, changed, later }: { looked: string; changed: readonly string[]; later: string | undefined },
): Omit<Check, 'seconds'> {
  if (wrong.length > 0)
    return {
      name,
      state: 'failed',
      detail: `${wrong.length} of them differ (${looked})`,
      findings: findings(wrong),
    };
  if (changed.length > 0)
    return {
      name,
      state: 'unproven',
      detail: `${looked}: equal to the backup's record; ${plural(changed.length, 'table')} changed since (${later})`,
      findings: findings([...changed, ...skipped]),
    };
  if (skipped.length > 0)
    return {
      name,
      state: 'unproven',
      detail: `equal where looked (${looked}); ${skipped.length} could not be compared`,
      findings: findings(skipped),
    };
  return { name, state: 'passed', detail: `${looked}: equal to the source` };
}

async function readRestored(
  options: ContentOptions,
  database: string,
  content: boolean,
): Promise<TableFingerprint[] | undefined> {
  const { connection, progress, signal, placeOf, readTables = fingerprintDatabase, later } = options;
  // One that was dropped after the backup is gone by right.
  if (later !== undefined && !(await openDatabases(connection)).includes(database)) return undefined;
  const client = await connectSql(connection, { database: placeOf ? placeOf(database) : database });
  try {
    return await readTables(client, { content, progress, signal });
  } finally {
    await client.end();
  }
}
