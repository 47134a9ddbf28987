/**
 * How far behind the stored WAL is while pgbench does all that it can, and how many transactions that costs. A virtual machine
 * is faster and slower by the minute, by more than a receiver costs: so turns are short, each with a receiver lies between two
 * without one, and is compared with these two alone. Who watches the lag watches in every turn. A receiver runs under load for a
 * while before its turn: it is one for months, and what its start costs is another matter.
 *
 * Twice, where there are two processors: with everything on all of them and on one disk, and `apart`: server and pgbench on the
 * first, the receiver on the others, with what it stores in memory, as on a host with a disk of its own. The sender that the
 * server runs for it stays with the server.
 */

import { chmod, mkdtemp, readFile, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type Cluster, ownFolder } from './cluster.ts';
import { connect } from './data.ts';
import { type Launched, launch, processCpu, run, say } from './tools.ts';
import { endOfWal, execute, HelvinoHome, pgbench, until, type WalOptions } from './wal-tools.ts';

type Receiver = 'helvino' | 'pg_receivewal';

/** A turn with a receiver. */
export interface Turn {
  /** Transactions a second. */
  readonly tps: number;
  /** The mean of the turns before and after, without a receiver. */
  readonly without: number;
  /** Processor seconds of the receiver, a second, and of the server's process that sends to it. */
  readonly cpu: number;
  readonly sender: number;
}

export interface Lag {
  readonly turns: Readonly<Record<Receiver, Turn[]>>;
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
  const { rounds, account, seconds, receiveWal } = options;
  await using own = await storageOf(options.home, processors);
  const { home } = own;
  const order: readonly Receiver[] = receiveWal ? ['helvino', 'pg_receivewal'] : ['helvino'];
  await using _ = await pinned(cluster, processors?.server);
  const place = await HelvinoHome.make(join(home, 'lag'), cluster);
  const received = join(home, 'lag-received');
  await rm(received, { recursive: true, force: true });
  const folder = await ownFolder(received, account);
  const start = (receiver: Receiver): Launched => {
    if (receiver === 'helvino') return place.stream('lag_helvino', processors?.receiver);
    const words = ['-h', cluster.socketDir, '-p', String(cluster.port), '-D', folder, '-S', 'lag_receivewal'];
    return launch(receiveWal!, words, { as: 'postgres', processors: processors?.receiver });
  };
  await execute(cluster, `select pg_create_physical_replication_slot('lag_receivewal', true)`);
  const turns: Record<Receiver, Turn[]> = { helvino: [], pg_receivewal: [] };
  const samples: number[] = [];
  let bytes = 0;
  const turn = { cluster, seconds, processors: processors?.server };
  let before = await load(turn);
  for (let round = 0; round < rounds; round++) {
    for (const receiver of order) {
      const process = start(receiver);
      await caughtUp(cluster);
      await load({ ...turn, seconds: options.warmSeconds });
      const begun = [await process.cpu(), await senderCpu(cluster)] as const;
      const with_ = await load(turn);
      const cpu = ((await process.cpu()) - begun[0]) / seconds;
      const sender = ((await senderCpu(cluster)) - begun[1]) / seconds;
      await process.stop();
      const after = await load(turn);
      turns[receiver].push({ tps: with_.tps, without: (before.tps + after.tps) / 2, cpu, sender });
      if (receiver === 'helvino') {
        samples.push(...with_.lag);
        bytes += with_.bytes;
      }
      say(
        `load ${round + 1} ${processors ? 'apart ' : ''}${receiver}: ${with_.tps.toFixed(0)} tps between ${before.tps.toFixed(0)} and ${after.tps.toFixed(0)}`,
      );
      before = after;
    }
  }
  for (const slot of ['lag_helvino', 'lag_receivewal'])
    await execute(cluster, `select pg_drop_replication_slot('${slot}')`);
  return { turns, seconds: samples, rate: bytes / (rounds * seconds) };
}

async function senderCpu(cluster: Cluster): Promise<number> {
  const pid = await execute(cluster, 'select pid::text from pg_stat_replication');
  return processCpu(Number(pid));
}

/** Where receivers store. */
async function storageOf(
  home: string,
  processors: Processors | undefined,
): Promise<AsyncDisposable & { readonly home: string }> {
  if (processors === undefined) return { home, [Symbol.asyncDispose]: async () => undefined };
  const folder = await mkdtemp('/dev/shm/helvino-bench-');
  // pg_receivewal is another user's.
  await chmod(folder, 0o755);
  return { home: folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
}

/** One turn of pgbench, from a checkpoint on. */
async function load({
  cluster,
  seconds,
  processors,
}: {
  cluster: Cluster;
  seconds: number;
  processors: string | undefined;
}): Promise<{ tps: number; lag: number[]; bytes: number }> {
  await execute(cluster, 'checkpoint');
  const before = await endOfWal(cluster);
  const running = pgbench(cluster, ['-n', '-c', '8', '-j', '2', '-T', String(seconds)], processors);
  const lag = await watched(cluster, running);
  const tps = Number(/tps = ([\d.]+)/.exec(await running)![1]);
  return { tps, lag, bytes: Number((await endOfWal(cluster)) - before) };
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
