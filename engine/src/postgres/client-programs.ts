/**
 * The client programs of PostgreSQL (pg_dump, pg_dumpall, pg_restore, psql): finding those of the right major version, and
 * running them. Secrets reach them by environment only. A run counts as good only when the program has ended with status 0
 * and all its output was taken.
 */
import { spawn } from 'node:child_process';
import { access } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { HelvinoError } from '../base/errors.ts';
import { ChildProgram } from '../streams/index.ts';
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
    PGSSLMAXPROTOCOLVERSION: tls.maxVersion,
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

/**
 * A database for `--dbname` and `--database`, which read a name as a connection string where it looks like one: a database that
 * someone has named `host=elsewhere` would have the password sent there.
 */
export function databaseArgument(database: string): string {
  return `dbname='${database.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

interface RunOptions {
  readonly programs: ClientPrograms;
  readonly env: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** See ChildProgram. */
  readonly keep?: (line: string) => boolean;
}

/** Throws SERVER_ERROR with what the program said when it does not end well. */
export class ClientRun extends ChildProgram {
  constructor(name: ProgramName, args: readonly string[], { programs, env, signal, keep }: RunOptions) {
    super({
      name: `${name} ${programs.version}`,
      path: join(programs.binDir, name),
      args,
      env,
      signal,
      keep,
      failure: 'SERVER_ERROR',
    });
  }
}
