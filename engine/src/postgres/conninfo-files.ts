/**
 * The files that libpq users keep connections and passwords in:
 * https://www.postgresql.org/docs/current/libpq-pgservice.html, https://www.postgresql.org/docs/current/libpq-pgpass.html
 */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { checkKeyword, invalid, type Settings } from './conninfo-parse.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** One line of a password file; `*` matches anything. */
export interface PassEntry {
  readonly host: string;
  readonly port: string;
  readonly database: string;
  readonly user: string;
  readonly password: string;
}

/** The settings of a service: from the user's file, else from the system's. Throws CONFIG_INVALID. */
export async function readService(
  name: string,
  { env, home, file }: { env: Environment; home: string; file?: string },
): Promise<Settings> {
  const users = file ?? env.PGSERVICEFILE ?? join(home, '.pg_service.conf');
  const systems = join(env.PGSYSCONFDIR ?? '/etc/postgresql-common', 'pg_service.conf');
  for (const path of [users, systems]) {
    const text = await readFile(path, 'utf8').catch(() => undefined);
    const settings = text === undefined ? undefined : serviceIn(text, { name, path });
    if (settings) return settings;
  }
  throw invalid(
    `no service ${JSON.stringify(name)} in ${users} or ${systems}`,
    'add the service there, or set PGSERVICEFILE',
  );
}

function serviceIn(text: string, { name, path }: { name: string; path: string }): Settings | undefined {
  let settings: Settings | undefined;
  for (const [i, raw] of text.split('\n').entries()) {
    const line = raw.trim();
    if (line === '' || line.startsWith('#')) continue;
    if (line.startsWith('[')) {
      if (settings) break;
      if (line === `[${name}]`) settings = new Map();
      continue;
    }
    if (!settings) continue;
    const equals = line.indexOf('=');
    const keyword = line.slice(0, equals).trim();
    if (equals < 1 || line.startsWith('ldap://'))
      throw invalid(`line ${i + 1} of ${path} is not of the form keyword=value`);
    if (keyword === 'service')
      throw invalid(`line ${i + 1} of ${path} names another service, which PostgreSQL does not allow`);
    checkKeyword(keyword);
    if (!settings.has(keyword)) settings.set(keyword, line.slice(equals + 1).trim());
  }
  return settings;
}

/** As libpq, ignores a file that others may read; the warning says so. A missing file is no warning. */
export async function readPassFile(path: string): Promise<{ entries: PassEntry[]; warning?: string }> {
  const facts = await stat(path).catch(() => undefined);
  if (!facts) return { entries: [] };
  if (!facts.isFile())
    return { entries: [], warning: `the password file ${path} was ignored: it is not a plain file` };
  if (process.platform !== 'win32' && (facts.mode & 0o077) !== 0) {
    return {
      entries: [],
      warning: `the password file ${path} was ignored: others may read it (chmod 600 ${path})`,
    };
  }
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined)
    return { entries: [], warning: `the password file ${path} was ignored: it cannot be read` };
  return { entries: text.split('\n').flatMap(passEntry) };
}

function passEntry(raw: string): PassEntry[] {
  const line = raw.replace(/\r$/, '');
  if (line === '' || line.startsWith('#')) return [];
  const fields = [...line.matchAll(/((?:[^:\\]|\\.)*)(?::|$)/g)].map((match) => match[1]!);
  if (fields.length < 5) return [];
  const [host, port, database, user, password] = fields.map((field) =>
    field === '*' ? field : field.replace(/\\(.)/g, '$1'),
  );
  return [{ host: host!, port: port!, database: database!, user: user!, password: password! }];
}
