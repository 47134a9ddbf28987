/** Are the rows that were restored the rows that the source had? */

import type { Progress } from '../../base/progress.ts';
import type { BackupFacts } from '../../catalog/index.ts';
import {
  type ConnectionParams,
  compareFingerprints,
  connectSql,
  fingerprintDatabase,
  type TableFingerprint,
} from '../../postgres/index.ts';
import { type Check, findings } from './report.ts';

export interface RecordedTable extends TableFingerprint {
  readonly database: string;
}

export interface ContentOptions {
  readonly connection: ConnectionParams;
  readonly facts: Pick<BackupFacts, 'fingerprint'>;
  readonly recorded: readonly RecordedTable[];
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
  const wrongRows: string[] = [];
  const wrongContent: string[] = [];
  const skipped = facts.fingerprint.hiddenDatabases.map(
    (database) => `${database}: the backup's role could not connect to it, so its content was not recorded`,
  );
  let tables = 0;
  let hashed = 0;
  let rows = 0n;
  for (const database of new Set(recorded.map((table) => table.database))) {
    const wanted = options.only ?? (() => true);
    const source = recorded.filter((table) => table.database === database && wanted(table));
    const restored = await readRestored(
      options,
      database,
      source.some((table) => table.hash !== null),
    );
    for (const result of compareFingerprints(source, restored.filter(wanted))) {
      const name = `${database}: ${result.schema}.${result.table}`;
      if (result.state === 'unproven') skipped.push(`${name}: ${result.reason}`);
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
  return [
    verdictLine('row counts', wrongRows, skipped, `${tables} tables, ${rows} rows`),
    verdictLine(
      'content',
      [...wrongRows, ...wrongContent],
      hashed < tables ? [...skipped, `${tables - hashed} tables without a content hash`] : skipped,
      `content hash of ${hashed} tables`,
    ),
  ];
}

function verdictLine(
  name: string,
  wrong: readonly string[],
  skipped: readonly string[],
  looked: string,
): Omit<Check, 'seconds'> {
  if (wrong.length > 0)
    return {
      name,
      state: 'failed',
      detail: `${wrong.length} of them differ (${looked})`,
      findings: findings(wrong),
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
  { connection, progress, signal, placeOf, readTables = fingerprintDatabase }: ContentOptions,
  database: string,
  content: boolean,
): Promise<TableFingerprint[]> {
  const client = await connectSql(connection, { database: placeOf ? placeOf(database) : database });
  try {
    return await readTables(client, { content, progress, signal });
  } finally {
    await client.end();
  }
}
