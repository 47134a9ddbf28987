/**
 * WAL: how fast it is taken, how far behind what is stored is under full load and what that costs, and how fast it is
 * replayed and searched; beside pg_receivewal and pgBackRest. PostgreSQL 15 of Debian, Helvino by its command line.
 */
import { debianCluster, settle } from './cluster.ts';
import { type Find, find } from './wal-find.ts';
import { type Intake, intake } from './wal-intake.ts';
import { type Lags, lag } from './wal-lag.ts';
import { type Replay, replay } from './wal-replay.ts';
import { execute, pgbench, type WalOptions } from './wal-tools.ts';

export interface WalResults {
  readonly intake?: Intake;
  readonly lag?: Lags;
  readonly replay?: Replay;
  readonly find?: Find;
}

export async function walBench(options: WalOptions, only: readonly string[]): Promise<WalResults> {
  await using cluster = await debianCluster(options.home);
  await execute(cluster, `alter system set wal_keep_size = '64MB'`, 'select pg_reload_conf()');
  await pgbench(cluster, ['-i', '-q', '-s', String(options.scale)]);
  await settle(cluster);
  return {
    intake: only.includes('intake') ? await intake(cluster, options) : undefined,
    lag: only.includes('lag') ? await lag(cluster, options) : undefined,
    replay: only.includes('replay') ? await replay(cluster, options) : undefined,
    find: only.includes('find') ? await find(cluster, options) : undefined,
  };
}
