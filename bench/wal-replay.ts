/**
 * Restore and recovery to the latest state: a small base backup and a given volume of WAL, both programs from their own
 * archive of the same WAL. pgBackRest's archive-get in async mode.
 */

import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Cluster, ownFolder, startAt, stopAt } from './cluster.ts';
import { pgBackRestConfig } from './contenders.ts';
import { run, say } from './tools.ts';
import { endOfWal, execute, HelvinoHome, makeWal, until, type WalOptions } from './wal-tools.ts';

interface Part {
  /** Seconds of the program that restores. */
  readonly restore: number;
  /** Seconds from the start of the server until it takes writes. */
  readonly recover: number;
}

export interface Replay {
  readonly bytes: number;
  readonly helvino: Part[];
  readonly pgBackRest: Part[];
}

export async function replay(cluster: Cluster, options: WalOptions): Promise<Replay> {
  const { home, account, rounds } = options;
  const helvino = await HelvinoHome.make(join(home, 'replay'), cluster);
  const backRest = await setUpBackRest(cluster, options);
  const streamer = helvino.stream('replay');
  const slot = `select count(*)::text from pg_replication_slots where slot_name = 'replay' and active`;
  await until('the stream has begun', async () => (await execute(cluster, slot)) === '1');
  await run(process.execPath, helvino.words(['backup', '--fingerprint', 'off']));
  await backRest(['--type=full', 'backup']);
  const begin = await endOfWal(cluster);
  await makeWal(cluster, options.bytes);
  const end = await endOfWal(cluster);
  const truth = await contentOf(cluster);
  const stored = `select (restart_lsn - '0/0'::pg_lsn)::text from pg_replication_slots where slot_name = 'replay'`;
  const segment = ((end / 16777216n) * 16777216n).toString();
  await until(
    'all is stored by helvino',
    async () => BigInt(await execute(cluster, stored)) >= BigInt(segment),
  );
  await until('all is stored by pgBackRest', async () => {
    const sql = `select (last_archived_wal >= pg_walfile_name(('0/0'::pg_lsn + ${segment}::numeric) - 1::numeric))::text from pg_stat_archiver`;
    return (await execute(cluster, sql)) === 'true';
  });
  await streamer.stop();
  const results = { helvino: [] as Part[], pgBackRest: [] as Part[] };
  const directory = join(home, 'replayed');
  const contenders = {
    helvino: () =>
      run(
        process.execPath,
        helvino.words([
          'restore',
          '--to',
          'latest',
          '--to-directory',
          directory,
          '--identity',
          helvino.identity,
        ]),
      ),
    pgBackRest: async () => {
      await ownFolder(directory, account);
      return backRest([`--pg1-path=${directory}`, 'restore']);
    },
  };
  for (let round = 0; round < rounds; round++) {
    const names =
      round % 2 === 0 ? (['pgBackRest', 'helvino'] as const) : (['helvino', 'pgBackRest'] as const);
    for (const name of names) {
      await rm(directory, { recursive: true, force: true });
      await run('sync', []);
      const { seconds: restore } = await contenders[name]();
      const recover = await recovered({ directory, home, truth });
      results[name].push({ restore, recover });
      say(`replay ${round + 1} ${name}: restore ${restore.toFixed(1)} s, recovery ${recover.toFixed(1)} s`);
    }
  }
  await rm(directory, { recursive: true, force: true });
  await execute(cluster, `select pg_drop_replication_slot('replay')`);
  return { bytes: Number(end - begin), ...results };
}

/** Returns how its commands are run. */
async function setUpBackRest(cluster: Cluster, { home, account }: WalOptions) {
  const repo = await ownFolder(join(home, 'replay-pgbackrest'), account);
  const spool = await ownFolder(join(home, 'replay-spool'), account);
  const config = join(home, 'replay-pgbackrest.conf');
  const more = ['archive-async=y', `spool-path=${spool}`];
  await writeFile(config, pgBackRestConfig(cluster, { repo, home, more }));
  const command = (words: readonly string[]) =>
    run('pgbackrest', [`--config=${config}`, '--stanza=bench', '--log-level-console=error', ...words], {
      as: 'postgres',
    });
  await command(['stanza-create']);
  await execute(
    cluster,
    `alter system set archive_command = 'pgbackrest --config=${config} --stanza=bench archive-push %p'`,
    'select pg_reload_conf()',
  );
  return command;
}

/** Starts the restored server, waits until it takes writes, and holds its content against the source's. */
async function recovered({
  directory,
  home,
  truth,
}: {
  directory: string;
  home: string;
  truth: string;
}): Promise<number> {
  const port = 5433;
  const place = { socketDir: home, port };
  const begun = performance.now();
  await startAt(directory, join(home, 'replayed.log'), `-p ${port} -c archive_mode=off`);
  try {
    await until(
      'the recovered server takes writes',
      async () => (await execute(place, 'select pg_is_in_recovery()::text')) === 'false',
    );
    const seconds = (performance.now() - begun) / 1000;
    const found = await contentOf(place);
    if (found !== truth) throw new Error(`${directory} has ${found}, the source has ${truth}`);
    return seconds;
  } finally {
    await stopAt(directory);
  }
}

function contentOf(place: { socketDir: string; port: number }): Promise<string> {
  return execute(
    place,
    `select (select count(*) from pgbench_history) || ' ' || (select sum(abalance) from pgbench_accounts) || ' ' || (select sum(tbalance) from pgbench_tellers)`,
  );
}
