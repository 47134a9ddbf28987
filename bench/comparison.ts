/** Full backup and restore against pgBackRest and pg_basebackup: PostgreSQL 15 of Debian, in turns, several rounds. */
import { join } from 'node:path';
import { type Account, type Cluster, debianCluster, settle, startAt, stopAt } from './cluster.ts';
import { type Contender, helvinoAt, pgBackRest, pgBasebackup, type Sample } from './contenders.ts';
import { connect, fill, type Place } from './data.ts';
import { run, say } from './tools.ts';

export interface Comparison {
  readonly bytes: number;
  readonly backups: ReadonlyMap<string, Sample[]>;
  readonly restores: ReadonlyMap<string, Sample[]>;
}

export interface PartOptions {
  readonly home: string;
  readonly account: Account;
  readonly scale: number;
  readonly rounds: number;
}

export async function compare(options: PartOptions): Promise<Comparison> {
  const { home, scale, rounds } = options;
  await using cluster = await debianCluster(home);
  const bytes = await fill(cluster, scale);
  await settle(cluster);
  await warm(cluster);
  const truth = await contentOf(cluster);
  const about = { cluster, home, account: options.account };
  const all = [
    pgBackRest(about),
    helvinoAt(1, about),
    pgBasebackup(about),
    helvinoAt(1, about, 'files'),
    helvinoAt(-2, about, 'files'),
    helvinoAt(-5, about, 'files'),
  ];
  const backups = new Map(all.map((c) => [c.name, [] as Sample[]]));
  const restores = new Map(all.filter((c) => c.restore).map((c) => [c.name, [] as Sample[]]));
  await warmUp(all);
  for (let round = 0; round < rounds; round++) {
    for (const contender of turn(all, round)) {
      const sample = await contender.backup();
      backups.get(contender.name)!.push(sample);
      say(`backup ${round + 1} ${contender.name}: ${sample.seconds.toFixed(1)} s`);
    }
    for (const contender of turn(all, round)) {
      if (!contender.restore) continue;
      const sample = await contender.restore(async (dataDir) => {
        if (round === 0) await assertRestored(dataDir, { home, truth });
      });
      restores.get(contender.name)!.push(sample);
      say(`restore ${round + 1} ${contender.name}: ${sample.seconds.toFixed(1)} s`);
    }
  }
  return { bytes, backups, restores };
}

/** Once unmeasured: programs, their compiled code and the memory that the machine hands out are there for all alike. */
async function warmUp(all: readonly Contender[]): Promise<void> {
  for (const contender of all) {
    await contender.backup();
    await contender.restore?.(async () => undefined);
  }
}

/** Each round begins with another. */
function turn(all: readonly Contender[], round: number): Contender[] {
  return all.map((_, i) => all[(i + round) % all.length]!);
}

/** Reads all files once, so that every contender finds them in the cache. */
export async function warm({ dataDir }: Cluster): Promise<void> {
  await run('sh', ['-c', `find ${dataDir}/base -type f -exec cat {} + >/dev/null`]);
}

async function contentOf(place: Place): Promise<string> {
  const client = await connect(place);
  try {
    const { rows } = await client.query(
      'select (select count(*) from messages) m, (select sum(hashtext(body)::bigint) from messages) b, (select sum(aid::bigint) from pgbench_accounts) a',
    );
    return JSON.stringify(rows[0]);
  } finally {
    await client.end();
  }
}

/** A fast restore of something else would be no achievement: the restored cluster is started and read. */
async function assertRestored(
  dataDir: string,
  { home, truth }: { home: string; truth: string },
): Promise<void> {
  const port = 5433;
  await startAt(dataDir, join(home, 'restored.log'), `-p ${port}`);
  try {
    const found = await contentOf({ socketDir: home, port });
    if (found !== truth) throw new Error(`${dataDir} has ${found}, the source has ${truth}`);
  } finally {
    await stopAt(dataDir);
  }
}
