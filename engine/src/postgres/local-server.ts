/**
 * PostgreSQL servers that Helvino starts itself, for demos and drills. A server on a restored directory must touch
 * nothing but that directory: no network, no archive, no primary, none of the source's libraries and files. So the
 * settings that could reach out are given on the command line, where they win over the directory's own.
 */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { chmod, chown, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { HelvinoError } from '../base/errors.ts';
import { type Account, giveDataDirectory, serverAccount } from './account.ts';
import { readableBinDir, type ServerBinaries } from './binaries.ts';
import { type ConnectionParams, resolveConnection } from './conninfo.ts';
import { readControlFile } from './control-file.ts';
import { openDatabase } from './open-database.ts';

/** A name for the socket only: there is no network unless `settings` ask for it. */
const socketPort = '5432';
const keptLogLines = 200;

export interface StartOptions {
  readonly binaries: ServerBinaries;
  readonly dataDir: string;
  /** A private folder: socket and configuration go there. Its path must be short (a socket's has at most 107 bytes). */
  readonly runDir: string;
  /** Further settings; they win over ours. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Role to connect as. */
  readonly user?: string;
  /** A database that the cluster is known to have, where it may be without template1 and postgres. */
  readonly database?: string | undefined;
  readonly readyTimeoutMs: number;
  readonly signal?: AbortSignal;
}

export interface LocalServer {
  /** To template1, or another database that takes connections. */
  readonly connection: ConnectionParams;
  readonly pid: number;
  /** The last lines of its log. */
  log(): string;
  /** `fast`: a clean shutdown; `immediate`: a crash. */
  stop(mode: 'fast' | 'immediate'): Promise<void>;
}

/** Makes a cluster with superuser `postgres`, who needs no password on the socket. Throws LOCAL_SERVER. */
export async function initCluster({
  binaries,
  dataDir,
  checksums,
}: {
  binaries: ServerBinaries;
  dataDir: string;
  checksums: boolean;
}): Promise<void> {
  const account = await serverAccount();
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  if (account) await chown(dataDir, account.uid, account.gid);
  const args = [
    '-D',
    dataDir,
    '-U',
    'postgres',
    '-A',
    'trust',
    '-E',
    'UTF8',
    '--locale=C',
    '-N',
    ...(checksums ? ['-k'] : []),
  ];
  const program = join(await readableBinDir(binaries), 'initdb');
  const output: string[] = [];
  const status = await new Promise<number | string | null>((resolve) => {
    const child = spawn(program, args, {
      ...account,
      cwd: '/',
      env: serverEnvironment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => output.push(chunk.toString()));
    child.on('error', (error) => resolve(error.message));
    child.on('close', resolve);
  });
  if (status === 0) return;
  throw new HelvinoError(
    'LOCAL_SERVER',
    `initdb of PostgreSQL ${binaries.version} ended with ${status}: ${output.join('').trim().split('\n').at(-1)}`,
    {
      context: { program, output: output.join('') },
    },
  );
}

function serverEnvironment(): Record<string, string> {
  return { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', TZ: 'UTC' };
}

/** Returns when the server takes connections: recovery is over. Throws LOCAL_SERVER with what the server said. */
export async function startLocalServer(options: StartOptions): Promise<LocalServer> {
  const account = await serverAccount();
  const runDir = join(options.runDir, 'run');
  await mkdir(runDir, { recursive: true, mode: 0o700 });
  const port = options.settings?.port ?? socketPort;
  const socket = join(runDir, `.s.PGSQL.${port}`);
  if (Buffer.byteLength(socket) > 107) {
    throw new HelvinoError('LOCAL_SERVER', `the path of the socket is too long: ${socket}`, {
      hint: 'name a folder with a shorter path (--directory, TMPDIR)',
    });
  }
  const files = await writeConfiguration(runDir, account);
  if (account) await giveDataDirectory(options.dataDir, account);
  const needed = await neededByRecovery(options.dataDir);
  const newer = options.binaries.major >= 17 ? { event_triggers: 'off' } : {};
  const settings = { ...isolated(runDir, files), ...needed, ...newer, ...options.settings };
  const args = [
    '-D',
    options.dataDir,
    ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  ];
  const program = join(await readableBinDir(options.binaries), 'postgres');
  const url = `postgresql://${encodeURIComponent(options.user ?? 'postgres')}@/template1?host=${encodeURIComponent(runDir)}&port=${port}`;
  const overrides = { sslmode: 'disable', options: ofSessions };
  const connection = await resolveConnection({ url, overrides }, {});
  const stdio: StdioOptions = ['ignore', 'pipe', 'pipe'];
  const child = spawn(program, args, { ...account, cwd: '/', env: serverEnvironment(), stdio });
  // At once: what a server says and does before someone listens is lost.
  const server = new ChildServer(child, connection);
  try {
    await server.ready(options);
    const known = ['template1', 'postgres', options.database];
    const database = await openDatabase(connection, known, options.signal);
    server.connection = { ...connection, database };
  } catch (thrown) {
    await server.stop('immediate');
    throw thrown;
  }
  return server;
}

interface ConfigurationFiles {
  readonly config: string;
  readonly hba: string;
  readonly ident: string;
}

/** The directory's own files may include others, name certificates, or be elsewhere (Debian keeps them in /etc). */
async function writeConfiguration(runDir: string, account: Account | undefined): Promise<ConfigurationFiles> {
  const files = {
    config: join(runDir, 'postgresql.conf'),
    hba: join(runDir, 'pg_hba.conf'),
    ident: join(runDir, 'pg_ident.conf'),
  };
  await writeFile(files.config, '# Made by helvino for a throw-away server.\n');
  await writeFile(
    files.hba,
    'local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n',
  );
  await writeFile(files.ident, '');
  await chmod(runDir, 0o700);
  if (account)
    for (const path of [runDir, ...Object.values(files)]) await chown(path, account.uid, account.gid);
  return files;
}

/**
 * What ALTER ROLE and ALTER DATABASE may have set wins over the server's command line, not over the connection's:
 * libraries that are not here, another role, time limits.
 */
const ofSessions = [
  'session_preload_libraries=',
  'local_preload_libraries=',
  'role=none',
  'default_transaction_read_only=off',
  'statement_timeout=0',
  'lock_timeout=0',
  'idle_in_transaction_session_timeout=0',
]
  .map((setting) => `-c ${setting}`)
  .join(' ');

/** Prepared transactions of the source must find room. Throws LOCAL_SERVER for a directory that is no whole cluster. */
async function neededByRecovery(dataDir: string): Promise<Record<string, string>> {
  try {
    const { settings } = readControlFile(await readFile(join(dataDir, 'global/pg_control')));
    return {
      max_prepared_transactions: String(Math.max(200, settings.maxPreparedTransactions)),
      max_locks_per_transaction: String(Math.max(256, settings.maxLocksPerTransaction)),
    };
  } catch (thrown) {
    const why = (thrown as Error).message;
    throw new HelvinoError('LOCAL_SERVER', `${dataDir} is no whole PostgreSQL cluster: ${why}`, {
      cause: thrown,
    });
  }
}

/**
 * All that could reach out, but the directory's restore_command and recovery target: a restore wrote those.
 * https://www.postgresql.org/docs/current/runtime-config.html
 */
function isolated(runDir: string, files: ConfigurationFiles): Record<string, string> {
  return {
    config_file: files.config,
    hba_file: files.hba,
    ident_file: files.ident,
    listen_addresses: '',
    unix_socket_directories: runDir,
    unix_socket_permissions: '0700',
    port: socketPort,
    external_pid_file: '',
    ssl: 'off',
    shared_preload_libraries: '',
    session_preload_libraries: '',
    local_preload_libraries: '',
    archive_mode: 'off',
    primary_conninfo: '',
    primary_slot_name: '',
    archive_cleanup_command: '',
    recovery_end_command: '',
    ssl_passphrase_command: '',
    // Subscriptions of the source would take from their publishers what the source has not had yet.
    max_logical_replication_workers: '0',
    // Else no commit would return.
    synchronous_standby_names: '',
    default_transaction_read_only: 'off',
    // Without hot standby the source's max_connections and the like need not be matched.
    hot_standby: 'off',
    shared_buffers: '128MB',
    huge_pages: 'off',
    max_connections: '50',
    max_worker_processes: '8',
    autovacuum: 'off',
    fsync: 'off',
    logging_collector: 'off',
    log_destination: 'stderr',
    log_min_messages: 'warning',
    lc_messages: 'C',
    lc_monetary: 'C',
    lc_numeric: 'C',
    lc_time: 'C',
  };
}

class ChildServer implements LocalServer {
  connection: ConnectionParams;
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #exited: Promise<void>;
  #gone = false;
  /** The begin of a line whose end has not come yet. */
  #begun = '';
  readonly #killAtExit = () => this.#child.kill('SIGQUIT');

  constructor(child: ChildProcess, connection: ConnectionParams) {
    this.#child = child;
    this.connection = connection;
    this.#exited = new Promise((resolve) => {
      const end = () => {
        this.#gone = true;
        process.removeListener('exit', this.#killAtExit);
        resolve();
      };
      child.on('error', (error) => {
        this.#lines.push(error.message);
        end();
      });
      child.on('close', end);
    });
    process.once('exit', this.#killAtExit);
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => this.#keep(chunk.toString()));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  log(): string {
    return this.#lines.join('\n');
  }

  async ready({ dataDir, binaries, readyTimeoutMs, signal }: StartOptions): Promise<void> {
    const until = systemClock.monotonic() + readyTimeoutMs;
    while (!(await this.#takesConnections(dataDir))) {
      signal?.throwIfAborted();
      if (this.#gone) throw this.#failed(binaries, 'did not start');
      if (systemClock.monotonic() > until)
        throw this.#failed(binaries, `was not ready after ${Math.round(readyTimeoutMs / 1000)} s`);
      await systemClock.sleep(20);
    }
  }

  async stop(mode: 'fast' | 'immediate'): Promise<void> {
    if (this.#gone) return;
    this.#child.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    const patience = setTimeout(() => this.#child.kill('SIGQUIT'), 60_000);
    // A server that hangs in its own death; its children notice that it is gone.
    const enough = setTimeout(() => this.#child.kill('SIGKILL'), 90_000);
    await this.#exited;
    clearTimeout(patience);
    clearTimeout(enough);
  }

  /** Line 8 of postmaster.pid is the status: https://www.postgresql.org/docs/current/storage-file-layout.html */
  async #takesConnections(dataDir: string): Promise<boolean> {
    const text = await readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => '');
    const lines = text.split('\n');
    return Number(lines[0]) === this.pid && lines[7]?.trim() === 'ready';
  }

  #failed(binaries: ServerBinaries, what: string): HelvinoError {
    const telling =
      this.#lines.findLast((line) => /\b(FATAL|PANIC):/.test(line)) ??
      this.#lines.at(-1) ??
      'it said nothing';
    return new HelvinoError(
      'LOCAL_SERVER',
      `PostgreSQL ${binaries.version} ${what}: ${telling.replace(/^.*?\b(FATAL|PANIC): +/, '')}`,
      {
        hint: 'the log lines are in the context (--json)',
        context: { log: this.#lines.slice(-30), binDir: binaries.binDir },
      },
    );
  }

  #keep(text: string): void {
    const lines = (this.#begun + text).split('\n');
    this.#begun = lines.pop() ?? '';
    this.#lines.push(...lines.filter((line) => line !== ''));
    this.#lines.splice(0, this.#lines.length - keptLogLines);
  }
}
