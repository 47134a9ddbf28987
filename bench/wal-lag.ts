/**
 * How far behind the stored WAL is while pgbench does all that it can, and how many transactions that costs: rounds without
 * a receiver, with Helvino, with pg_receivewal, in turns.
 *
 * Twice, where there are two processors: with everything on all of them, and `apart`: server and pgbench on the first, the
 * receiver on the others, as on a host of its own. The sender that the server runs for it stays with the server.
 */

import { readFile, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type Cluster, ownFolder } from './cluster.ts';
import { connect } from './data.ts';
import { type Launched, launch, run, say } from './tools.ts';
import { endOfWal, execute, HelvinoHome, pgbench, until, type WalOptions } from './wal-tools.ts';

type Receiver = 'none' | 'helvino' | 'pg_receivewal';

export interface Lag {
  /** Transactions a second, a value a round. */
  readonly tps: Readonly<Record<Receiver, number[]>>;
  /** Seconds between a byte's being on the server's disk and its being stored, sampled; of Helvino. */
  readonly seconds: number[];
  /** Bytes of WAL a second while Helvino received. */
  readonly rate: number;
}

/** Which processors are for whom; undefined: all for all. */
interface Processors {
  readonly server: string;
  readonly receiver: string;
}

export interface Lags {
  readonly together: Lag;
  readonly apart?: Lag;
}

/** `receiveWal`: a pg_receivewal that fits the server; undefined: Helvino alone is measured. */
export async function lag(
  cluster: Cluster,
  options: WalOptions,
  receiveWal: string | undefined,
): Promise<Lags> {
  const together = await measured(cluster, { ...options, receiveWal }, undefined);
  const count = availableParallelism();
  if (count < 2) return { together };
  const processors = { server: '0', receiver: `1-${count - 1}` };
  return { together, apart: await measured(cluster, { ...options, receiveWal }, processors) };
}

async function measured(
  cluster: Cluster,
  options: WalOptions & { readonly receiveWal: string | undefined },
  processors: Processors | undefined,
): Promise<Lag> {
  const { home, rounds, account, seconds, receiveWal } = options;
  const order: readonly Receiver[] = receiveWal ? ['none', 'helvino', 'pg_receivewal'] : ['none', 'helvino'];
  await using _ = await pinned(cluster, processors?.server);
  const place = await HelvinoHome.make(join(home, 'lag'), cluster);
  const received = join(home, 'lag-received');
  await rm(received, { recursive: true, force: true });
  const folder = await ownFolder(received, account);
  const start = (receiver: Receiver): Launched | undefined => {
    if (receiver === 'helvino') return place.stream('lag_helvino', processors?.receiver);
    if (receiver === 'none' || receiveWal === undefined) return undefined;
    const words = ['-h', cluster.socketDir, '-p', String(cluster.port), '-D', folder, '-S', 'lag_receivewal'];
    return launch(receiveWal, words, {
      as: 'postgres',
      processors: processors?.receiver,
    });
  };
  await execute(cluster, `select pg_create_physical_replication_slot('lag_receivewal', true)`);
  const tps: Record<Receiver, number[]> = { none: [], helvino: [], pg_receivewal: [] };
  const samples: number[] = [];
  let bytes = 0;
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < order.length; turn++) {
      const receiver = order[(round + turn) % order.length]!;
      const process = start(receiver);
      if (process) await caughtUp(cluster);
      await execute(cluster, 'checkpoint');
      const before = await endOfWal(cluster);
      const load = pgbench(cluster, ['-n', '-c', '8', '-j', '2', '-T', String(seconds)], processors?.server);
      const watch = receiver === 'helvino' ? watched(cluster, load) : undefined;
      tps[receiver].push(Number(/tps = ([\d.]+)/.exec(await load)![1]));
      if (watch !== undefined) {
        samples.push(...(await watch));
        bytes += Number((await endOfWal(cluster)) - before);
      }
      await process?.stop();
      say(
        `load ${round + 1} ${processors ? 'apart ' : ''}${receiver}: ${tps[receiver].at(-1)!.toFixed(0)} tps`,
      );
    }
  }
  for (const slot of ['lag_helvino', 'lag_receivewal'])
    await execute(cluster, `select pg_drop_replication_slot('${slot}')`);
  return { tps, seconds: samples, rate: bytes / (rounds * seconds) };
}

/** Keeps a server, with what it starts later, on some processors; disposing lets it go. */
async function pinned({ dataDir }: Cluster, processors: string | undefined): Promise<AsyncDisposable> {
  const pin = async (list: string) => {
    const postmaster = (await readFile(join(dataDir, 'postmaster.pid'), 'utf8')).split('\n')[0]!;
    const { output } = await run('pgrep', ['-P', postmaster]);
    for (const pid of [postmaster, ...output.trim().split('\n')])
      await run('taskset', ['-a', '-c', '-p', list, pid]).catch(() => undefined);
  };
  if (processors !== undefined) await pin(processors);
  return {
    [Symbol.asyncDispose]: async () => {
      if (processors !== undefined) await pin(`0-${availableParallelism() - 1}`);
    },
  };
}

/** All that was kept for it while others ran has been sent. */
async function caughtUp(cluster: Cluster): Promise<void> {
  await until('the receiver has caught up', async () => {
    const sql = `select coalesce(bool_or(sent_lsn >= pg_current_wal_flush_lsn()), false)::text from pg_stat_replication where state = 'streaming'`;
    return (await execute(cluster, sql)) === 'true';
  });
}

/** While `load` runs: for each sample, how old the oldest byte is that is on the server's disk and not stored. */
async function watched(cluster: Cluster, load: Promise<unknown>): Promise<number[]> {
  let running = true;
  load.finally(() => (running = false)).catch(() => undefined);
  const client = await connect(cluster);
  const seconds: number[] = [];
  /** When the server had how much. */
  const course: { at: number; end: bigint }[] = [];
  try {
    while (running) {
      const { rows } = await client.query<{ now: string; end: string; stored: string }>(
        `select (extract(epoch from clock_timestamp()) * 1000)::text as now, (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::text as end,
           (coalesce((select max(flush_lsn) from pg_stat_replication), '0/0') - '0/0'::pg_lsn)::text as stored`,
      );
      const at = Number(rows[0]!.now);
      const stored = BigInt(rows[0]!.stored);
      course.push({ at, end: BigInt(rows[0]!.end) });
      while (course.length > 1 && course[1]!.end <= stored) course.shift();
      const oldest = course.find(({ end }) => end > stored);
      if (stored > 0n) seconds.push(oldest ? (at - oldest.at) / 1000 : 0);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    return seconds;
  } finally {
    await client.end();
  }
}
