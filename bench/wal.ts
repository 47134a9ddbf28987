/**
 * WAL: how fast it is taken, how far behind what is stored is under full load and what that costs, and how fast it is
 * replayed and searched; beside pg_receivewal and pgBackRest. PostgreSQL 15 of Debian, Helvino by its command line. What full load
 * costs is measured on PostgreSQL 18 of npm, too: since 16 a commit does not wake senders that are not streaming.
 */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { debianBin, debianCluster, newCluster, settle } from './cluster.ts';
import { type Find, find } from './wal-find.ts';
import { type Intake, intake } from './wal-intake.ts';
import { type Lags, lag } from './wal-lag.ts';
import { type Replay, replay } from './wal-replay.ts';
import { execute, pgbench, type WalOptions } from './wal-tools.ts';

export interface WalResults {
  readonly intake?: Intake;
  readonly lag?: Lags;
  /** On the newest server. */
  readonly newestLag?: Lags;
  readonly replay?: Replay;
  readonly find?: Find;
}

export async function walBench(options: WalOptions, only: readonly string[]): Promise<WalResults> {
  const newestLag = only.includes('lag') ? await lagOnNewest(options) : undefined;
  await using cluster = await debianCluster(options.home);
  await execute(cluster, `alter system set wal_keep_size = '64MB'`, 'select pg_reload_conf()');
  await pgbench(cluster, ['-i', '-q', '-s', String(options.scale)]);
  await settle(cluster);
  return {
    intake: only.includes('intake') ? await intake(cluster, options) : undefined,
    lag: only.includes('lag') ? await lag(cluster, options, join(debianBin, 'pg_receivewal')) : undefined,
    newestLag,
    replay: only.includes('replay') ? await replay(cluster, options) : undefined,
    find: only.includes('find') ? await find(cluster, options) : undefined,
  };
}

/** pg_receivewal of its version is beside it after `scripts/client-programs.sh FOLDER`, with HELVINO_TEST_CLIENTS=FOLDER. */
async function lagOnNewest(options: WalOptions): Promise<Lags> {
  await using cluster = await newCluster();
  await pgbench(cluster, ['-i', '-q', '-s', String(options.scale)]);
  await settle(cluster);
  const program = join(process.env.HELVINO_TEST_CLIENTS ?? '', '18', 'bin', 'pg_receivewal');
  const isThere = await access(program).then(
    () => true,
    () => false,
  );
  // Awaited here: the server ends with this function.
  return await lag(cluster, options, isThere ? program : undefined);
}
