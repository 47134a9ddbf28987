/**
 * Sustained intake: WAL that lies ready on the server is fetched until all of it is durable. The rate is that between the
 * first and the last segment stored, by the times of the files; starting is not in it.
 */
import { existsSync } from 'node:fs';
import { readdir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { logPieceName } from '../engine/src/repository/index.ts';
import { type Cluster, debianBin, ownFolder } from './cluster.ts';
import { launch, run, say } from './tools.ts';
import { endOfWal, execute, HelvinoHome, makeWal, until, type WalOptions } from './wal-tools.ts';

export interface Intake {
  /** Bytes fetched. */
  readonly bytes: number;
  /** MB (10^6) a second, a value a round. */
  readonly helvino: number[];
  readonly pgReceivewal: number[];
}

const segmentSize = 16n << 20n;

export async function intake(cluster: Cluster, options: WalOptions): Promise<Intake> {
  const { home, rounds, account } = options;
  const slots = (kind: string) => Array.from({ length: rounds }, (_, round) => `${kind}_${round}`);
  for (const slot of [...slots('h'), ...slots('r')])
    await execute(cluster, `select pg_create_physical_replication_slot('${slot}', true)`);
  const begin = await endOfWal(cluster);
  await makeWal(cluster, options.bytes);
  const end = ((await endOfWal(cluster)) / segmentSize) * segmentSize;
  const results = { helvino: [] as number[], pgReceivewal: [] as number[] };
  const contenders = {
    helvino: async (round: number) => {
      const place = await HelvinoHome.make(join(home, 'intake'), cluster);
      const streamer = place.stream(`h_${round}`);
      // Looked for on the disk, as below: to ask the server is a load on it, which takes a third of a small machine.
      const name = logPieceName('main', { line: 1, begin: end - segmentSize, end });
      const last = join(place.folder, 'repository', name);
      await until('all is stored by helvino', async () => existsSync(last));
      await streamer.stop();
      results.helvino.push(await rate(dirname(last), /^[0-9A-F]{16}-[0-9A-F]{9}[0-9A-F]{1}000000$/));
    },
    pgReceivewal: async (round: number) => {
      const folder = await ownFolder(join(home, 'received'), account);
      const where = ['-h', cluster.socketDir, '-p', String(cluster.port), '-D', folder, '-S', `r_${round}`];
      const receiver = launch(join(debianBin, 'pg_receivewal'), where, { as: 'postgres' });
      const last = walFile(end - segmentSize);
      await until('all is stored by pg_receivewal', async () => (await readdir(folder)).includes(last));
      await receiver.stop();
      results.pgReceivewal.push(await rate(folder, /^[0-9A-F]{24}$/));
      await rm(folder, { recursive: true, force: true });
    },
  };
  for (let round = 0; round < rounds; round++) {
    const order =
      round % 2 === 0 ? (['helvino', 'pgReceivewal'] as const) : (['pgReceivewal', 'helvino'] as const);
    for (const name of order) {
      await run('sync', []);
      await contenders[name](round);
      say(`intake ${round + 1} ${name}: ${results[name].at(-1)!.toFixed(0)} MB/s`);
    }
  }
  for (const slot of [...slots('h'), ...slots('r')])
    await execute(cluster, `select pg_drop_replication_slot('${slot}')`);
  await rm(join(home, 'intake'), { recursive: true, force: true });
  return { bytes: Number(end - begin), ...results };
}

/** From the first to the last whole segment in a folder, by the times at which they were written. */
async function rate(folder: string, names: RegExp): Promise<number> {
  const times: number[] = [];
  for (const name of await readdir(folder))
    if (names.test(name)) times.push((await stat(join(folder, name))).mtimeMs);
  times.sort((a, b) => a - b);
  if (times.length < 3) throw new Error(`only ${times.length} segments in ${folder}`);
  return ((times.length - 1) * Number(segmentSize)) / 1e6 / ((times.at(-1)! - times[0]!) / 1000);
}

function walFile(begin: bigint): string {
  const hex = (value: bigint) => value.toString(16).toUpperCase().padStart(8, '0');
  return `00000001${hex(begin >> 32n)}${hex((begin & 0xffffffffn) / segmentSize)}`;
}
