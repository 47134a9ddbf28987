/**
 * `helvino find` over much WAL: by the index that was made while it was stored, and without it, reading the WAL itself.
 * Processor time is that of the whole process, its start included.
 */
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cluster } from './cluster.ts';
import { measure, say } from './tools.ts';
import { endOfWal, execute, HelvinoHome, makeWal, until, type WalOptions } from './wal-tools.ts';

interface FindRun {
  readonly seconds: number;
  readonly cpu: number;
}

export interface Find {
  /** Bytes of WAL. */
  readonly bytes: number;
  readonly transactions: number;
  /** Bytes of the index as stored. */
  readonly index: number;
  readonly byIndex: FindRun[];
  readonly byWal: FindRun[];
}

export async function find(cluster: Cluster, options: WalOptions): Promise<Find> {
  const { home, rounds } = options;
  const place = await HelvinoHome.make(join(home, 'find'), cluster);
  await execute(cluster, `select pg_create_physical_replication_slot('find', true)`);
  const streamer = place.stream('find');
  const begin = await endOfWal(cluster);
  const before = Number(await execute(cluster, 'select pg_current_xact_id()::text'));
  await makeWal(cluster, options.findBytes);
  await execute(cluster, 'create table victim as select g as id from generate_series(1, 5000) g');
  await execute(cluster, 'delete from victim');
  // The part before may have left commits asynchronous: the end that is asked for is that of what is flushed.
  await execute(cluster, 'checkpoint');
  const end = await endOfWal(cluster);
  const confirmed = `select coalesce((restart_lsn - '0/0'::pg_lsn)::text, '0') from pg_replication_slots where slot_name = 'find'`;
  await until('all is stored', async () => BigInt(await execute(cluster, confirmed)) >= end);
  await streamer.stop();
  const transactions = Number(await execute(cluster, 'select pg_current_xact_id()::text')) - before;
  await execute(cluster, `select pg_drop_replication_slot('find')`);
  const folder = join(place.folder, 'repository/log-index');
  const size = await folderSize(folder);
  const words = ['find', '--deletes-over', '1000', '--identity', place.identity];
  const results = { byIndex: [] as FindRun[], byWal: [] as FindRun[] };
  for (const how of ['byIndex', 'byWal'] as const) {
    if (how === 'byWal') {
      await rm(folder, { recursive: true });
      await mkdir(folder);
    }
    for (let round = 0; round < rounds; round++) {
      const { seconds, cpu, output } = await measure(process.execPath, place.words(words));
      if (!output.includes('"victim"'))
        throw new Error(`the deletion was not found: ${output.slice(0, 500)}`);
      results[how].push({ seconds, cpu });
      say(`find ${how} ${round + 1}: ${seconds.toFixed(1)} s, ${cpu.toFixed(1)} s of CPU`);
    }
  }
  await rm(place.folder, { recursive: true, force: true });
  return { bytes: Number(end - begin), transactions, index: size, ...results };
}

async function folderSize(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size;
  return bytes;
}
