/**
 * Where and how to connect, from everything that libpq users know: a URL or connection string, a service, PG* variables,
 * password files, defaults. https://www.postgresql.org/docs/current/libpq-connect.html,
 * https://www.postgresql.org/docs/current/libpq-envars.html
 */
import { randomInt } from 'node:crypto';
import { access } from 'node:fs/promises';
import { homedir, userInfo } from 'node:os';
import { join } from 'node:path';
import { type PassEntry, readPassFile, readService } from './conninfo-files.ts';
import { checkKeyword, invalid, parseConnectionString, type Settings } from './conninfo-parse.ts';

type SslMode = 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full';
type TargetSession = 'any' | 'read-write' | 'read-only' | 'primary' | 'standby' | 'prefer-standby';

export interface HostParams {
  /** A host name, an address, or the folder of a unix socket (begins with `/`). */
  readonly host: string;
  /** Connect here instead; `host` is then only the name to check certificates and passwords against. */
  readonly address: string | undefined;
  readonly port: number;
}

export interface TlsParams {
  readonly mode: SslMode;
  /** `postgres` asks first, `direct` begins with TLS at once (17+). */
  readonly negotiation: 'postgres' | 'direct';
  /** A file of trusted authorities, or `system`. Undefined: certificates are not verified. */
  readonly rootCert: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly keyPassword: string | undefined;
  readonly revocations: string | undefined;
  readonly serverName: boolean;
  readonly minVersion: TlsVersion;
  readonly maxVersion: TlsVersion | undefined;
}

type TlsVersion = 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3';

/** Holds secrets: show it with `describeConnection` only. */
export interface ConnectionParams {
  /** Tried in this order. */
  readonly hosts: readonly HostParams[];
  readonly user: string;
  readonly database: string;
  /** For every host; goes before `passwords`. */
  readonly password: string | undefined;
  readonly passwords: readonly PassEntry[];
  readonly tls: TlsParams;
  readonly channelBinding: 'disable' | 'prefer' | 'require';
  readonly targetSession: TargetSession;
  /** Seconds for each host; 0 waits for ever. */
  readonly connectTimeout: number;
  readonly applicationName: string;
  /** Command-line options for the server process. */
  readonly options: string | undefined;
  /** For people: what was found and not used. */
  readonly warnings: readonly string[];
}

interface ConnectionInput {
  /** A URL, or `keyword=value` pairs. */
  readonly url?: string;
  /** A section of pg_service.conf. */
  readonly service?: string;
  /** Values by libpq keyword (`host`, `port`, `dbname`, `user`, `password`, `sslmode` …); they win over all else. */
  readonly overrides?: Readonly<Record<string, string | number | undefined>>;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Throws CONFIG_INVALID. Does not connect. */
export async function resolveConnection(input: ConnectionInput, env: Environment): Promise<ConnectionParams> {
  const home = env.HOME ?? homedir();
  const settings = await gather(input, env, home);
  const get = (keyword: string) => settings.get(keyword) || undefined;
  refuseUnsupported(settings);
  const user = get('user') ?? userInfo().username;
  const password = get('password');
  const passFile =
    password === undefined ? await readPassFile(get('passfile') ?? join(home, '.pgpass')) : { entries: [] };
  return {
    hosts: await hostsOf(settings),
    user,
    database: get('dbname') ?? user,
    password,
    passwords: passFile.entries,
    tls: await tlsOf(settings, home),
    channelBinding: oneOf(settings, 'channel_binding', ['prefer', 'disable', 'require']),
    targetSession: oneOf(settings, 'target_session_attrs', [
      'any',
      'read-write',
      'read-only',
      'primary',
      'standby',
      'prefer-standby',
    ]),
    connectTimeout: wholeNumber(get('connect_timeout') ?? '30', 'connect_timeout'),
    applicationName: get('application_name') ?? 'helvino',
    options: get('options'),
    warnings: passFile.warning === undefined ? [] : [passFile.warning],
  };
}

/** A URL without any secret, for people. */
export function describeConnection({ hosts, user, database }: ConnectionParams): string {
  const who = encodeURIComponent(user);
  const what = encodeURIComponent(database);
  const socket = hosts.find(({ host }) => host.startsWith('/'));
  if (socket) return `postgresql://${who}@/${what}?host=${socket.host}&port=${socket.port}`;
  return `postgresql://${who}@${hosts.map(describeHost).join(',')}/${what}`;
}

export function describeHost({ host, port }: HostParams): string {
  if (host.startsWith('/')) return `${host}/.s.PGSQL.${port}`;
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** `database`: for a replication connection, `replication`. */
export function passwordFor(
  params: ConnectionParams,
  { host, port }: HostParams,
  database: string,
): string | undefined {
  if (params.password !== undefined) return params.password;
  const names = host.startsWith('/') ? [host, 'localhost'] : [host];
  const fits = (pattern: string, values: readonly string[]) => pattern === '*' || values.includes(pattern);
  return params.passwords.find(
    (entry) =>
      fits(entry.host, names) &&
      fits(entry.port, [String(port)]) &&
      fits(entry.database, [database]) &&
      fits(entry.user, [params.user]),
  )?.password;
}

const variables: Readonly<Record<string, string>> = {
  PGHOST: 'host',
  PGHOSTADDR: 'hostaddr',
  PGPORT: 'port',
  PGDATABASE: 'dbname',
  PGUSER: 'user',
  PGPASSWORD: 'password',
  PGPASSFILE: 'passfile',
  PGREQUIREAUTH: 'require_auth',
  PGCHANNELBINDING: 'channel_binding',
  PGOPTIONS: 'options',
  PGAPPNAME: 'application_name',
  PGSSLMODE: 'sslmode',
  PGSSLNEGOTIATION: 'sslnegotiation',
  PGSSLCERT: 'sslcert',
  PGSSLKEY: 'sslkey',
  PGSSLROOTCERT: 'sslrootcert',
  PGSSLCRL: 'sslcrl',
  PGSSLCRLDIR: 'sslcrldir',
  PGSSLSNI: 'sslsni',
  PGSSLMINPROTOCOLVERSION: 'ssl_min_protocol_version',
  PGSSLMAXPROTOCOLVERSION: 'ssl_max_protocol_version',
  PGSSLCERTMODE: 'sslcertmode',
  PGREQUIREPEER: 'requirepeer',
  PGGSSENCMODE: 'gssencmode',
  PGCONNECT_TIMEOUT: 'connect_timeout',
  PGTARGETSESSIONATTRS: 'target_session_attrs',
};

/** What is said first wins: overrides, the connection string, the service, the environment. */
async function gather(input: ConnectionInput, env: Environment, home: string): Promise<Settings> {
  const settings: Settings = new Map();
  for (const [keyword, value] of Object.entries(input.overrides ?? {})) {
    checkKeyword(keyword);
    if (value !== undefined) settings.set(keyword, String(value));
  }
  addMissing(settings, input.url === undefined ? new Map() : parseConnectionString(input.url));
  const service = input.service ?? settings.get('service') ?? env.PGSERVICE;
  if (service)
    addMissing(settings, await readService(service, { env, home, file: settings.get('servicefile') }));
  for (const [variable, keyword] of Object.entries(variables)) {
    const value = env[variable];
    if (value && !settings.has(keyword)) settings.set(keyword, value);
  }
  return settings;
}

function addMissing(settings: Settings, more: Settings): void {
  for (const [keyword, value] of more) if (!settings.has(keyword)) settings.set(keyword, value);
}

/** What asks for a protection that we do not have is refused, not ignored. */
function refuseUnsupported(settings: Settings): void {
  for (const keyword of [
    'require_auth',
    'requirepeer',
    'sslcrldir',
    'scram_client_key',
    'scram_server_key',
  ]) {
    if (settings.get(keyword))
      throw invalid(`the connection parameter ${keyword} is not supported`, `leave ${keyword} out`);
  }
  if (settings.get('sslcertmode') === 'require')
    throw invalid('sslcertmode=require is not supported', 'leave sslcertmode out');
  if (settings.get('gssencmode') === 'require')
    throw invalid('gssencmode=require is not supported', 'use TLS (sslmode)');
}

async function hostsOf(settings: Settings): Promise<HostParams[]> {
  const hosts = list(settings.get('host'));
  const addresses = list(settings.get('hostaddr'));
  const ports = list(settings.get('port'));
  const count = Math.max(hosts.length, addresses.length, 1);
  for (const [name, values] of [
    ['host', hosts],
    ['hostaddr', addresses],
  ] as const) {
    if (values.length > 0 && values.length !== count)
      throw invalid(`${values.length} values of ${name} for ${count} hosts`);
  }
  if (ports.length > 1 && ports.length !== count) throw invalid(`${ports.length} ports for ${count} hosts`);
  const result: HostParams[] = [];
  for (let i = 0; i < count; i++) {
    const port = wholeNumber((ports.length === 1 ? ports[0] : ports[i]) || '5432', 'port');
    if (port < 1 || port > 65_535) throw invalid(`port ${port} is out of range`);
    const address = addresses[i] || undefined;
    result.push({ host: hosts[i] || address || (await localHost(port)), address, port });
  }
  return oneOf(settings, 'load_balance_hosts', ['disable', 'random']) === 'random'
    ? shuffled(result)
    : result;
}

/** Fisher and Yates. */
function shuffled<T>(items: readonly T[]): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = randomInt(i + 1);
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
}

function list(text: string | undefined): string[] {
  return text ? text.split(',').map((item) => item.trim()) : [];
}

/** With no host given libpq uses its built-in socket folder, which differs between builds; we take the first that is there. */
async function localHost(port: number): Promise<string> {
  for (const folder of ['/var/run/postgresql', '/tmp']) {
    if (await exists(`${folder}/.s.PGSQL.${port}`)) return folder;
  }
  return 'localhost';
}

/** The first is libpq's default for the least. */
const tlsVersions: readonly TlsVersion[] = ['TLSv1.2', 'TLSv1', 'TLSv1.1', 'TLSv1.3'];

async function tlsOf(settings: Settings, home: string): Promise<TlsParams> {
  const get = (keyword: string) => settings.get(keyword) || undefined;
  const rootCert = get('sslrootcert');
  const modes: SslMode[] = ['prefer', 'disable', 'allow', 'require', 'verify-ca', 'verify-full'];
  const mode =
    rootCert === 'system' && get('sslmode') === undefined ? 'verify-full' : oneOf(settings, 'sslmode', modes);
  if (rootCert === 'system' && mode !== 'verify-full')
    throw invalid(`sslmode=${mode} may not be used with sslrootcert=system`, 'use verify-full');
  const file = async (keyword: string, standard: string) => {
    const given = get(keyword);
    if (given === 'system' && keyword === 'sslrootcert') return given;
    const path = given ?? join(home, '.postgresql', standard);
    if (await exists(path)) return path;
    if (given !== undefined && mode !== 'disable')
      throw invalid(`${keyword} names ${path}, which cannot be read`, `correct ${keyword}`);
    return undefined;
  };
  const withCert = get('sslcertmode') !== 'disable';
  const tls = {
    mode,
    negotiation: oneOf(settings, 'sslnegotiation', ['postgres', 'direct'] as const),
    rootCert: await file('sslrootcert', 'root.crt'),
    cert: withCert ? await file('sslcert', 'postgresql.crt') : undefined,
    key: withCert ? await file('sslkey', 'postgresql.key') : undefined,
    keyPassword: get('sslpassword'),
    revocations: await file('sslcrl', 'root.crl'),
    serverName: get('sslsni') !== '0',
    minVersion: oneOf(settings, 'ssl_min_protocol_version', tlsVersions),
    maxVersion: get('ssl_max_protocol_version')
      ? oneOf(settings, 'ssl_max_protocol_version', tlsVersions)
      : undefined,
  };
  if (mode.startsWith('verify') && tls.rootCert === undefined) {
    throw invalid(
      `sslmode=${mode} needs trusted certificates, and there are none`,
      `set sslrootcert to a file or to system, or put root.crt into ${home}/.postgresql`,
    );
  }
  if (tls.negotiation === 'direct' && ['disable', 'allow', 'prefer'].includes(mode)) {
    throw invalid(`sslmode=${mode} may not be used with sslnegotiation=direct`, 'use require or stronger');
  }
  return tls;
}

/** The first value is the default. */
function oneOf<T extends string>(settings: Settings, keyword: string, values: readonly T[]): T {
  const given = settings.get(keyword) || values[0]!;
  const value = values.find((candidate) => candidate === given);
  if (value === undefined)
    throw invalid(`${keyword} is ${JSON.stringify(given)}, not one of ${values.join(', ')}`);
  return value;
}

function wholeNumber(text: string, keyword: string): number {
  if (!/^\d{1,9}$/.test(text.trim()))
    throw invalid(`${keyword} is ${JSON.stringify(text)}, not a whole number`);
  return Number(text);
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
