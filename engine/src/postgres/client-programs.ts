/**
 * The client programs of PostgreSQL (pg_dump, pg_dumpall, pg_restore, psql): finding those of the right major version, and
 * running them. Secrets reach them by environment only. A run counts as good only when the program has ended with status 0
 * and all its output was taken.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { access } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { HelvinoError, interrupted } from '../base/errors.ts';
import { type ConnectionParams, passwordFor } from './conninfo.ts';

type Environment = Readonly<Record<string, string | undefined>>;
type ProgramName = 'pg_dump' | 'pg_dumpall' | 'pg_restore' | 'psql';
const programNames: readonly ProgramName[] = ['pg_dump', 'pg_dumpall', 'pg_restore', 'psql'];

export interface ClientPrograms {
  readonly major: number;
  /** e.g. `15.14`. */
  readonly version: string;
  readonly binDir: string;
}

/**
 * Of exactly this major version: an older pg_dump refuses the server, a newer one may write what the server's own version
 * cannot read back. Throws BINARIES_NOT_FOUND, with the package to install.
 */
export async function findClientPrograms(
  major: number,
  { env, extraDirs }: { env: Environment; extraDirs: readonly string[] },
): Promise<ClientPrograms> {
  const tried: string[] = [];
  const path = (env.PATH ?? '').split(delimiter).filter((part) => isAbsolute(part));
  const usual = [
    `/usr/lib/postgresql/${major}/bin`,
    `/usr/pgsql-${major}/bin`,
    `/opt/homebrew/opt/postgresql@${major}/bin`,
    `/usr/local/opt/postgresql@${major}/bin`,
  ];
  for (const directory of new Set([...extraDirs, ...usual, ...path])) {
    const found = await inspect(directory);
    if (typeof found !== 'string' && found.major === major) return found;
    const why = typeof found === 'string' ? found : `version ${found.version}`;
    if (why !== '') tried.push(`${directory} (${why})`);
  }
  throw new HelvinoError(
    'BINARIES_NOT_FOUND',
    `pg_dump, pg_restore and psql of PostgreSQL ${major} are needed and were not found${tried.length > 0 ? `; looked at ${tried.join(', ')}` : ''}`,
    {
      hint: `install them (Debian, Ubuntu: apt-get install postgresql-client-${major}; Red Hat: dnf install postgresql${major}; macOS: brew install postgresql@${major}), or name their folder in logical.binDir`,
      context: { major, tried },
    },
  );
}

/** Why these will not do: empty when there is nothing at all. */
async function inspect(directory: string): Promise<ClientPrograms | string> {
  const there = await Promise.all(programNames.map((name) => exists(join(directory, name))));
  if (!there[0]) return '';
  const missing = programNames.filter((_, index) => !there[index]);
  if (missing.length > 0) return `no ${missing.join(', ')}`;
  const version = await versionOf(join(directory, 'pg_dump'));
  if (version === undefined) return 'pg_dump does not run';
  return { major: Number.parseInt(version, 10), version, binDir: directory };
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Output: `pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`. */
async function versionOf(program: string): Promise<string | undefined> {
  const output = await new Promise<string>((resolve) => {
    const child = spawn(program, ['--version'], { stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    child.on('error', () => resolve(''));
    child.on('close', () => resolve(text));
  });
  return /\(PostgreSQL\) (\d+(\.\d+)?)/.exec(output)?.[1];
}

/**
 * What the programs need to connect as we do. https://www.postgresql.org/docs/current/libpq-envars.html
 * Throws CONFIG_INVALID for what cannot be said by environment.
 */
export function programEnvironment(params: ConnectionParams, database: string): Record<string, string> {
  const { hosts, tls } = params;
  if (tls.keyPassword !== undefined)
    throw new HelvinoError('CONFIG_INVALID', 'pg_dump cannot be given sslpassword safely', {
      hint: 'use a client key without a password, or a password file, for this database',
    });
  const passwords = new Set(hosts.map((host) => passwordFor(params, host, database)));
  if (passwords.size > 1)
    throw new HelvinoError(
      'CONFIG_INVALID',
      'the hosts have different passwords, which pg_dump cannot be given',
      {
        hint: 'name one host in the connection',
      },
    );
  const [password] = passwords;
  const all: Record<string, string | undefined> = {
    PGHOST: hosts.map((host) => host.host).join(','),
    PGHOSTADDR: hosts.some((host) => host.address !== undefined)
      ? hosts.map((host) => host.address ?? '').join(',')
      : undefined,
    PGPORT: hosts.map((host) => host.port).join(','),
    PGUSER: params.user,
    PGDATABASE: database,
    PGPASSWORD: password,
    PGAPPNAME: params.applicationName,
    PGOPTIONS: params.options,
    PGCONNECT_TIMEOUT: String(params.connectTimeout),
    PGTARGETSESSIONATTRS: params.targetSession,
    PGCHANNELBINDING: params.channelBinding,
    PGSSLMODE: tls.mode,
    PGSSLROOTCERT: tls.rootCert,
    PGSSLCERT: tls.cert,
    PGSSLKEY: tls.key,
    PGSSLCRL: tls.revocations,
    PGSSLSNI: tls.serverName ? '1' : '0',
    PGSSLMINPROTOCOLVERSION: tls.minVersion,
    // `direct` is known to libpq 17 and newer only; asking first works with every server.
    PGGSSENCMODE: 'disable',
    PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
    LC_ALL: 'C',
    TZ: 'UTC',
  };
  return Object.fromEntries(
    Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

interface RunOptions {
  readonly programs: ClientPrograms;
  readonly env: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  readonly cwd?: string;
}

const keptLines = 100;

export class ClientRun {
  /** What it prints: must be read to its end. */
  readonly stdout: Readable;
  readonly stdin: Writable;
  /** What it said on standard error: the last hundred lines. */
  readonly messages: string[] = [];
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #stop: () => void;

  constructor(name: ProgramName, args: readonly string[], options: RunOptions) {
    const { programs, env, signal, cwd } = options;
    signal.throwIfAborted();
    this.#name = `${name} ${programs.version}`;
    const child = spawn(join(programs.binDir, name), args, {
      env: { ...env },
      cwd,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#child = child;
    this.stdout = child.stdout;
    this.stdin = child.stdin;
    this.#stop = () => child.kill('SIGTERM');
    signal.addEventListener('abort', this.#stop, { once: true });
    let begun = '';
    child.stderr.on('data', (chunk: Buffer) => {
      const lines = (begun + chunk.toString()).split('\n');
      begun = lines.pop() ?? '';
      this.messages.push(...lines.filter((line) => line !== ''));
      this.messages.splice(0, this.messages.length - keptLines);
    });
    // A program that has ended takes no more input: its status says why.
    child.stdin.on('error', () => undefined);
    this.#ended = new Promise<void>((resolve, reject) => {
      child.on('error', (cause) => reject(this.#failure(cause.message, cause)));
      child.on('close', (status, killed) => {
        if (begun !== '') this.messages.push(begun);
        if (signal.aborted) reject(interrupted(signal));
        else if (status === 0) resolve();
        else
          reject(this.#failure(status === null ? `was ended by ${killed}` : `ended with status ${status}`));
      });
    }).finally(() => signal.removeEventListener('abort', this.#stop));
    this.#ended.catch(() => undefined);
  }

  /** Resolves when the program has ended well. Throws SERVER_ERROR with what it said, INTERRUPTED. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Ends it, and waits. Nothing when it has ended. */
  async kill(): Promise<void> {
    this.#child.kill('SIGTERM');
    // Else it would wait for someone to read the rest.
    this.stdout.destroy();
    await this.#ended.catch(() => undefined);
  }

  /** Writes what comes to its input, and closes it; stops when the program has ended, or wants no more. */
  async write(input: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      for await (const bytes of input) {
        if (this.stdin.destroyed) return;
        if (!this.stdin.write(bytes)) await this.#drained();
      }
      this.stdin.end();
    } catch (thrown) {
      // Half of the input must not be taken for all of it.
      await this.kill();
      throw thrown;
    }
  }

  /** All that it prints, which must be little, once it has ended well. */
  async text(): Promise<string> {
    const pieces: Buffer[] = [];
    for await (const piece of this.stdout) pieces.push(piece as Buffer);
    await this.#ended;
    return Buffer.concat(pieces).toString('utf8');
  }

  /** Gives it all of this input and waits for its end. What it prints is thrown away. */
  async feed(input: AsyncIterable<Uint8Array>): Promise<void> {
    this.stdout.resume();
    await this.write(input);
    await this.#ended;
  }

  /** Without input; what it prints is thrown away. */
  async alone(): Promise<void> {
    this.stdout.resume();
    this.stdin.end();
    await this.#ended;
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.stdin.off('drain', done);
        this.stdin.off('close', done);
        resolve();
      };
      this.stdin.once('drain', done);
      this.stdin.once('close', done);
    });
  }

  #failure(what: string, cause?: unknown): HelvinoError {
    const telling =
      this.messages.findLast((line) => /\b(error|fatal|FATAL|ERROR):/.test(line)) ?? this.messages.at(-1);
    return new HelvinoError(
      'SERVER_ERROR',
      `${this.#name} ${what}${telling === undefined ? '' : `: ${telling}`}`,
      {
        cause,
        hint: 'all that it said is in the context (--json)',
        context: { messages: [...this.messages] },
      },
    );
  }
}
