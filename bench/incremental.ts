/** An incremental backup after one percent of the pages changed, on a server that summarizes its WAL. */
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { constants, zstdCompressSync } from 'node:zlib';
import { type Cluster, newCluster, settle } from './cluster.ts';
import { type PartOptions, warm } from './comparison.ts';
import { freshFolder, helvino, newRepository, type Sample } from './contenders.ts';
import { changeOnePercent, connect, fill } from './data.ts';
import { run, say } from './tools.ts';

export interface IncrementalRound {
  readonly full: Sample;
  readonly incremental: Sample;
  readonly transfer: string;
  readonly changedPages: number;
  /** The changed pages, each compressed alone with zstd 3. */
  readonly changedBytes: number;
}

export interface Incremental {
  readonly version: string;
  readonly bytes: number;
  readonly rounds: IncrementalRound[];
}

export async function incremental({ home, scale, rounds }: PartOptions): Promise<Incremental> {
  await using cluster = await newCluster();
  const bytes = await fill(cluster, scale);
  await settle(cluster);
  await warm(cluster);
  const found: IncrementalRound[] = [];
  for (let round = 0; round < rounds; round++) found.push(await oneRound(cluster, home, round));
  return { version: cluster.version, bytes, rounds: found };
}

async function oneRound(cluster: Cluster, home: string, round: number): Promise<IncrementalRound> {
  const root = join(await freshFolder(join(home, 'incremental')), 'repository');
  await newRepository(root);
  const before = await currentLsn(cluster);
  const full = await helvino({ action: 'backup', root, url: cluster.url, level: 1 });
  await changeOnePercent(cluster, round);
  const pages = await changedPages(cluster, before);
  await run('sync', []);
  const next = await helvino({ action: 'backup', root, url: cluster.url, level: 1, kind: 'incremental' });
  await rm(join(home, 'incremental'), { recursive: true, force: true });
  say(
    `round ${round + 1}: full ${full.seconds.toFixed(1)} s, ${pages.count} pages changed, incremental ${next.seconds.toFixed(2)} s (${next.transfer})`,
  );
  return {
    full: { seconds: full.seconds, stored: full.totals.stored, peakMiB: full.peakMiB },
    incremental: { seconds: next.seconds, stored: next.totals.stored, peakMiB: next.peakMiB },
    transfer: next.transfer,
    changedPages: pages.count,
    changedBytes: pages.bytes,
  };
}

async function currentLsn(cluster: Cluster): Promise<string> {
  const client = await connect(cluster);
  try {
    const { rows } = await client.query<{ lsn: string }>('select pg_current_wal_lsn()::text as lsn');
    return rows[0]!.lsn;
  } finally {
    await client.end();
  }
}

interface PageRow {
  readonly path: string;
  readonly block: number;
}

/**
 * The server's own account of what changed, independent of ours: its WAL summaries
 * (https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-WAL-SUMMARY), read from the data directory.
 */
async function changedPages(cluster: Cluster, since: string): Promise<{ count: number; bytes: number }> {
  const client = await connect(cluster);
  try {
    // The summarizer works up to a checkpoint's redo position; this one closes the stretch that matters.
    await client.query('checkpoint');
    const until = await currentLsn(cluster);
    await summarized(cluster, until);
    const { rows } = await client.query<PageRow>(
      `select distinct pg_relation_filepath(c.oid) || case b.relforknumber when 0 then '' when 1 then '_fsm' else '_vm' end as path,
         b.relblocknumber::int as block
       from pg_available_wal_summaries() s, pg_wal_summary_contents(s.tli, s.start_lsn, s.end_lsn) b
       join pg_class c on pg_relation_filenode(c.oid) = b.relfilenode
       where s.end_lsn > $1 and not b.is_limit_block and b.reldatabase = (select oid from pg_database where datname = current_database())
       order by path, block`,
      [since],
    );
    return { count: rows.length, bytes: await compressedAlone(cluster.dataDir, rows) };
  } finally {
    await client.end();
  }
}

async function summarized(cluster: Cluster, until: string): Promise<void> {
  const client = await connect(cluster);
  try {
    for (let waited = 0; waited < 600; waited++) {
      const { rows } = await client.query<{ done: boolean }>(
        'select coalesce(max(end_lsn) >= (select redo_lsn from pg_control_checkpoint()), false) as done from pg_available_wal_summaries()',
      );
      if (rows[0]!.done) return;
      await client.query('select pg_sleep(0.1)');
    }
    throw new Error(`the server did not summarize its WAL up to ${until} within a minute`);
  } finally {
    await client.end();
  }
}

const blockSize = 8192;
const segmentBlocks = 131_072;

async function compressedAlone(dataDir: string, rows: readonly PageRow[]): Promise<number> {
  const page = Buffer.alloc(blockSize);
  let bytes = 0;
  let name = '';
  let file: Awaited<ReturnType<typeof open>> | undefined;
  for (const { path, block } of rows) {
    const segment = Math.floor(block / segmentBlocks);
    const wanted = join(dataDir, segment === 0 ? path : `${path}.${segment}`);
    if (wanted !== name) {
      await file?.close();
      file = await open(wanted);
      name = wanted;
    }
    await file!.read(page, 0, blockSize, (block % segmentBlocks) * blockSize);
    bytes += zstdCompressSync(page, { params: { [constants.ZSTD_c_compressionLevel]: 3 } }).length;
  }
  await file?.close();
  return bytes;
}
