/**
 * End-to-end tests of backup and restore: a repository with its recovery identity in a temporary folder, and the
 * operations with everything filled in that a test does not care about.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Client } from 'pg';
import { systemClock } from '../src/base/clock.ts';
import { silentProgress } from '../src/base/progress.ts';
import { type BackupOptions, backup } from '../src/operations/backup/backup.ts';
import { type DrillOptions, drill } from '../src/operations/drill/drill.ts';
import type { DrillReport } from '../src/operations/drill/report.ts';
import { type RestoreOptions, type RestoreResult, restore } from '../src/operations/restore/restore.ts';
import { connectSql, fingerprintDatabase, resolveConnection } from '../src/postgres/index.ts';
import {
  createIdentity,
  createRepository,
  type Identities,
  type Manifest,
  openIdentities,
  type Repository,
  recipientOf,
} from '../src/repository/index.ts';
import { openFsDriver } from '../src/storage/index.ts';
import { serverFolder, startTestServer, type TestMajor, type TestServer } from './pg-server.ts';

/** The tables of a server: `database.schema.table` to `rows hash`. */
export type Contents = Record<string, string>;

type Source = TestServer | { readonly url: string };

export interface Fixture extends AsyncDisposable {
  /** A folder for the test, removed at the end; servers may create folders in it. */
  readonly home: string;
  /** The repository's folder. */
  readonly root: string;
  readonly repository: Repository;
  /** The recovery identity as text. */
  readonly identity: string;
  readonly identities: Identities;
  readonly recipient: string;
  /** Given at the end of the test, also when it fails: what would run on by itself ends with it. */
  readonly ended: AbortSignal;
  takeBackup(server: Source, overrides?: Partial<BackupOptions>): Promise<Manifest>;
  /** Into a new folder unless `directory` is given. */
  restoreTo(manifest: Manifest, overrides?: Partial<RestoreOptions>): Promise<RestoreResult>;
  drillIt(manifest: Manifest, overrides?: Partial<DrillOptions>): Promise<DrillReport>;
  /** The table contents that the source had, as recorded in the backup. */
  recorded(manifest: Manifest): Promise<Contents>;
  /** Restores, starts, and reads all tables. */
  contentsOf(manifest: Manifest): Promise<Contents>;
}

/** `root`: an existing folder for the repository, else one is made in `home`. */
export async function makeFixture(options: { root?: string } = {}): Promise<Fixture> {
  const home = await serverFolder('hv-e2e-');
  const root = options.root ?? join(home, 'repository');
  await mkdir(root, { recursive: true });
  const identity = await createIdentity();
  const identities = await openIdentities(identity, 'the test');
  const recipient = await recipientOf(identity);
  const repository = await createRepository(await openFsDriver({ root }), { recipients: [recipient] });
  return new TestFixture({ home, root, repository, identity, identities, recipient });
}

const common = () => ({
  program: 'test',
  clock: systemClock,
  progress: silentProgress,
  signal: new AbortController().signal,
});

class TestFixture implements Fixture {
  readonly home: string;
  readonly root: string;
  readonly repository: Repository;
  readonly identity: string;
  readonly identities: Identities;
  readonly recipient: string;
  #restores = 0;
  readonly #ending = new AbortController();

  constructor(o: {
    home: string;
    root: string;
    repository: Repository;
    identity: string;
    identities: Identities;
    recipient: string;
  }) {
    this.home = o.home;
    this.root = o.root;
    this.repository = o.repository;
    this.identity = o.identity;
    this.identities = o.identities;
    this.recipient = o.recipient;
  }

  async takeBackup(server: Source, overrides: Partial<BackupOptions> = {}): Promise<Manifest> {
    return backup({
      ...common(),
      repository: this.repository,
      recipients: [this.recipient],
      database: 'main',
      connection: overrides.connection ?? (await resolveConnection({ url: server.url }, {})),
      kind: 'auto',
      checkpoint: 'fast',
      verifyChecksums: true,
      read: 'replication',
      fingerprint: 'full',
      fingerprintMaxBytes: Number.MAX_SAFE_INTEGER,
      notes: {},
      newCluster: false,
      level: 1,
      ...overrides,
    });
  }

  restoreTo(manifest: Manifest, overrides: Partial<RestoreOptions> = {}): Promise<RestoreResult> {
    return restore({
      ...common(),
      repository: this.repository,
      identities: this.identities,
      manifest,
      directory: join(this.home, `restored-${++this.#restores}`),
      delta: false,
      tablespaces: new Map(),
      newTimeline: true,
      ...overrides,
    });
  }

  drillIt(manifest: Manifest, overrides: Partial<DrillOptions> = {}): Promise<DrillReport> {
    return drill({
      ...common(),
      repository: this.repository,
      identities: this.identities,
      manifest,
      binDirs: [],
      fetchServers: false,
      env: process.env,
      readyTimeoutMs: 60_000,
      ...overrides,
    });
  }

  async recorded(manifest: Manifest): Promise<Contents> {
    const contents: Contents = {};
    for await (const value of this.repository.section(manifest, 'tables')) {
      const table = value as {
        database: string;
        schema: string;
        table: string;
        rows: string | null;
        hash: string | null;
      };
      contents[`${table.database}.${table.schema}.${table.table}`] = `${table.rows} ${table.hash}`;
    }
    return contents;
  }

  async contentsOf(manifest: Manifest): Promise<Contents> {
    const tablespaces = new Map([['*', join(this.home, `tablespaces-${++this.#restores}`)]]);
    const { directory } = await this.restoreTo(manifest, { tablespaces });
    const major = Math.floor(Number(manifest.facts.serverVersion) / 10000) as TestMajor;
    await using server = await startRestored(directory, major);
    const contents = await serverContents(server);
    await server.stop('immediate');
    for (const folder of [directory, tablespaces.get('*')!])
      await rm(folder, { recursive: true, force: true });
    return contents;
  }

  get ended(): AbortSignal {
    return this.#ending.signal;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    await rm(this.home, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Starts a server on a restored directory and waits until recovery is over. */
export async function startRestored(
  dataDir: string,
  major: TestMajor,
  config: Readonly<Record<string, string | number>> = {},
): Promise<TestServer> {
  const server = await startTestServer({ major, dataDir, config });
  try {
    for (let waited = 0; await inRecovery(server); waited += 50) {
      if (waited > 30_000) throw new Error(`recovery does not end: ${server.log()}`);
      await sleep(50);
    }
    return server;
  } catch (thrown) {
    await server[Symbol.asyncDispose]();
    throw thrown;
  }
}

async function inRecovery(server: TestServer): Promise<boolean> {
  const { rows } = await query<{ recovery: boolean }>(server, 'select pg_is_in_recovery() as recovery');
  return rows[0]!.recovery;
}

/** All permanent tables of all databases, read in one transaction each. */
export async function serverContents(server: Source): Promise<Contents> {
  const contents: Contents = {};
  const { rows } = await query<{ datname: string }>(
    server,
    'select datname from pg_database where datallowconn order by 1',
  );
  for (const { datname } of rows) {
    await withClient(
      server,
      async (client) => {
        for (const t of await fingerprintDatabase(client, { content: true }))
          contents[`${datname}.${t.schema}.${t.table}`] = `${t.rows} ${t.hash}`;
      },
      datname,
    );
  }
  return contents;
}

export async function withClient<T>(
  server: Source,
  work: (client: Client) => Promise<T>,
  database = 'postgres',
): Promise<T> {
  const client = await connectSql(await resolveConnection({ url: server.url }, {}), { database });
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Runs statements one after the other; the last one's result. */
export async function query<T extends Record<string, unknown>>(
  server: Source,
  ...statements: string[]
): Promise<{ rows: T[] }> {
  return withClient(server, async (client) => {
    let rows: T[] = [];
    for (const statement of statements) rows = (await client.query<T>(statement)).rows;
    return { rows };
  });
}

/** The lines of a drill that did not pass, for the message of an assertion. */
export function notPassed(report: DrillReport): string[] {
  return report.checks
    .filter((check) => check.state !== 'passed')
    .map((check) => `${check.name} ${check.state}: ${check.detail} ${check.findings?.join('; ') ?? ''}`);
}

/** A file system of its own, of so many bytes; undefined where one cannot be mounted (that takes root). */
export async function smallDisk(bytes: number): Promise<(AsyncDisposable & { path: string }) | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const path = await mkdtemp(join(tmpdir(), 'hv-disk-'));
  try {
    await promisify(execFile)('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path]);
  } catch {
    await rm(path, { recursive: true });
    return undefined;
  }
  return {
    path,
    async [Symbol.asyncDispose]() {
      await promisify(execFile)('umount', ['-l', path]);
      await rm(path, { recursive: true });
    },
  };
}

/** Everything in a folder, for comparing two of them: type, mode, owner, and the hash of the content or the link. */
export async function treeOf(folder: string): Promise<Record<string, string>> {
  const tree: Record<string, string> = {};
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    const { mode, uid, gid, size } = await lstat(path);
    const facts = `${(mode & 0o7777).toString(8)} ${uid}:${gid}`;
    let what = 'folder';
    if (entry.isSymbolicLink()) what = `link to ${await readlink(path)}`;
    else if (entry.isFile())
      what = `${size} ${createHash('sha256')
        .update(withoutName(await readFile(path)))
        .digest('hex')}`;
    tree[relative(folder, path)] = `${facts} ${what}`;
  }
  return tree;
}

/** Each restore gives the server a name of its own (`helvino.restored`): all else of two restores is equal. */
function withoutName(content: Buffer): Uint8Array {
  if (content.length > 10_000 || !content.includes('helvino.restored')) return content;
  return Buffer.from(
    content.toString('latin1').replaceAll(/(?<=helvino\.restored = ')[0-9a-f]{32}/g, ''),
    'latin1',
  );
}

/** The paths whose facts differ. */
export function differences(a: Record<string, string>, b: Record<string, string>): string[] {
  const paths = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
  return paths.filter((path) => a[path] !== b[path]).map((path) => `${path}: ${a[path]} | ${b[path]}`);
}
