/** The servers of the bench: Debian's PostgreSQL 15 for the comparison, a newer one from npm for incremental backups. */
import { appendFile, chown, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { startTestServer, type TestServer } from '../engine/test/pg-server.ts';
import { connect, type Place } from './data.ts';
import { run } from './tools.ts';

export const debianBin = '/usr/lib/postgresql/15/bin';

export interface Cluster extends Place, AsyncDisposable {
  readonly dataDir: string;
  /** As Helvino connects. */
  readonly url: string;
}

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

export async function postgresAccount(): Promise<Account> {
  const { output } = await run('id', ['-u', 'postgres']);
  const group = await run('id', ['-g', 'postgres']);
  return { uid: Number(output), gid: Number(group.output) };
}

/** A folder that belongs to `postgres`. */
export async function ownFolder(path: string, { uid, gid }: Account): Promise<string> {
  await mkdir(path, { recursive: true, mode: 0o755 });
  await chown(path, uid, gid);
  return path;
}

/** What makes the data appear quickly; `settle` takes it back. */
const whileLoading = { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off' };

const settings = {
  shared_buffers: '512MB',
  maintenance_work_mem: '512MB',
  max_wal_size: '8GB',
  wal_level: 'replica',
  max_wal_senders: '8',
  ...whileLoading,
};

export async function debianCluster(home: string): Promise<Cluster> {
  const dataDir = join(home, 'pg15');
  const as = { as: 'postgres' } as const;
  await run(join(debianBin, 'initdb'), ['-D', dataDir, '-k', '--locale=C.UTF-8', '-A', 'trust', '-N'], as);
  // pgBackRest wants archiving on; no archive is kept by any of the three.
  const all = {
    ...settings,
    port: '5432',
    listen_addresses: '',
    unix_socket_directories: home,
    archive_mode: 'on',
    archive_command: '/bin/true',
  };
  await appendFile(join(dataDir, 'postgresql.conf'), lines(all));
  await startAt(dataDir, join(home, 'pg15.log'));
  return {
    dataDir,
    socketDir: home,
    port: 5432,
    url: urlOf({ socketDir: home, port: 5432 }),
    [Symbol.asyncDispose]: () => stopAt(dataDir),
  };
}

export async function startAt(dataDir: string, log: string, options = ''): Promise<void> {
  const args = ['-D', dataDir, '-l', log, '-w', '-t', '120', '-o', options, 'start'];
  // Its output goes to the log; inherited pipes would keep the caller waiting for the server's end.
  const command = `${join(debianBin, 'pg_ctl')} ${args.map((word) => `'${word}'`).join(' ')} >/dev/null 2>&1`;
  await run('sh', ['-c', command], { as: 'postgres' });
}

export async function stopAt(dataDir: string): Promise<void> {
  await run(join(debianBin, 'pg_ctl'), ['-D', dataDir, '-m', 'immediate', '-w', 'stop'], {
    as: 'postgres',
    always: true,
  }).catch(() => undefined);
}

/** The newest server from npm, with WAL summaries. */
export async function newCluster(): Promise<Cluster & { readonly version: string }> {
  const server: TestServer = await startTestServer({
    major: 18,
    config: { ...settings, summarize_wal: 'on' },
    initdbArgs: ['--data-checksums'],
  });
  const { socketDir, port, dataDir } = server;
  const client = await connect(server);
  const { rows } = await client.query<{ version: string }>(
    `select current_setting('server_version') as version`,
  );
  await client.end();
  return {
    socketDir,
    port,
    dataDir,
    url: urlOf(server),
    version: rows[0]!.version,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** After loading: as durable as servers usually are. */
export async function settle(place: Place): Promise<void> {
  const client = await connect(place);
  try {
    for (const name of Object.keys(whileLoading)) await client.query(`alter system set ${name} = on`);
    await client.query('select pg_reload_conf()');
    await client.query('checkpoint');
  } finally {
    await client.end();
  }
  await run('sync', []);
}

function urlOf({ socketDir, port }: Place): string {
  return `postgresql:///postgres?host=${encodeURIComponent(socketDir)}&port=${port}&user=postgres`;
}

function lines(all: Readonly<Record<string, string>>): string {
  return Object.entries(all)
    .map(([name, value]) => `${name} = '${value}'\n`)
    .join('');
}
