/**
 * Connection strings, as libpq reads them: URLs (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS)
 * and `keyword = value` pairs (…#LIBPQ-CONNSTRING-KEYWORD-VALUE), into settings by libpq keyword. Messages never quote the
 * string, since it may hold a password.
 */
import { HelvinoError } from '../base/errors.ts';

export type Settings = Map<string, string>;

export function parseConnectionString(text: string): Settings {
  const scheme = /^postgres(?:ql)?:\/\//.exec(text);
  // libpq would take it for the name of a database on this very machine: the wrong server would be backed up.
  if (!scheme && /^[^=\s'/]*:\/\//.test(text))
    throw invalid(
      'the connection URL does not begin with postgresql://',
      'write it as postgresql://USER@HOST/DATABASE',
    );
  const settings = scheme
    ? parseUrl(text.slice(scheme[0].length))
    : text.includes('=')
      ? parsePairs(text)
      : new Map([['dbname', text]]);
  for (const keyword of settings.keys()) checkKeyword(keyword);
  // What sslmode was called before PostgreSQL 7.4; libpq still takes it.
  if (settings.get('requiressl') === '1' && !settings.has('sslmode')) settings.set('sslmode', 'require');
  return settings;
}

/** Throws CONFIG_INVALID for a word that libpq does not know either. */
export function checkKeyword(keyword: string): void {
  if (keywords.has(keyword)) return;
  throw invalid(`unknown connection parameter ${JSON.stringify(keyword)}`);
}

export function invalid(message: string, hint?: string): HelvinoError {
  return new HelvinoError('CONFIG_INVALID', message, {
    hint:
      hint ??
      'see https://www.postgresql.org/docs/current/libpq-connect.html for what a connection string may say',
  });
}

const keywords = new Set(
  `host hostaddr port dbname user password passfile require_auth channel_binding connect_timeout client_encoding options
  application_name fallback_application_name keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout
  replication gssencmode sslmode requiressl sslnegotiation sslcompression sslcert sslkey sslkeylogfile sslpassword sslcertmode
  sslrootcert sslcrl sslcrldir sslsni requirepeer ssl_min_protocol_version ssl_max_protocol_version min_protocol_version
  max_protocol_version krbsrvname gsslib gssdelegation scram_client_key scram_server_key service servicefile
  target_session_attrs load_balance_hosts oauth_issuer oauth_client_id oauth_client_secret oauth_scope`.split(
    /\s+/,
  ),
);

function parseUrl(rest: string): Settings {
  const settings: Settings = new Map();
  const [, beforeQuery = '', query] = /^([^?]*)(?:\?(.*))?$/s.exec(rest) ?? [];
  // As in libpq the first @ before any / ends the user information.
  const [, user, password, place = ''] = /^(?:([^:@/]*)(?::([^@/]*))?@)?(.*)$/s.exec(beforeQuery) ?? [];
  if (user) settings.set('user', decode(user));
  if (password) settings.set('password', decode(password));
  const slash = place.indexOf('/');
  const hosts = slash < 0 ? place : place.slice(0, slash);
  if (slash >= 0 && slash < place.length - 1) settings.set('dbname', decode(place.slice(slash + 1)));
  if (hosts !== '') addHosts(settings, hosts);
  for (const pair of query ? query.split('&') : []) addParameter(settings, pair);
  return settings;
}

function addHosts(settings: Settings, text: string): void {
  const hosts: string[] = [];
  const ports: string[] = [];
  for (const item of text.split(',')) {
    // An @ would be what follows an @ in a password that is not written as %40: no message may quote it as a host.
    const match = /^(?:\[([^\]@]+)\]|([^:[\]@]*))(?::([^@]*))?$/.exec(item);
    if (!match)
      throw invalid(
        'a host in the connection URL is malformed',
        'write an IPv6 address in brackets, and %40 for @ in a password',
      );
    // Nor may a password with a / that is not written as %2F be quoted as a port.
    if (match[3] && !/^\d+$/.test(match[3]))
      throw invalid(
        'a port in the connection URL is not a whole number',
        'in a password, write %2F for / and %40 for @',
      );
    hosts.push(decode(match[1] ?? match[2] ?? ''));
    ports.push(match[3] ?? '');
  }
  if (hosts.some((host) => host !== '')) settings.set('host', hosts.join(','));
  if (ports.some((port) => port !== '')) settings.set('port', ports.join(','));
}

function addParameter(settings: Settings, pair: string): void {
  const equals = pair.indexOf('=');
  if (equals < 0 || pair.indexOf('=', equals + 1) >= 0)
    throw invalid('a parameter of the connection URL is not of the form name=value');
  const name = decode(pair.slice(0, equals));
  const value = decode(pair.slice(equals + 1));
  // For URLs that were made for JDBC.
  if (name === 'ssl' && value === 'true') settings.set('sslmode', 'require');
  else settings.set(name, value);
}

function decode(text: string): string {
  try {
    const decoded = decodeURIComponent(text);
    if (!decoded.includes('\0')) return decoded;
  } catch {
    // fall through: the text may be a password, so the cause is left out
  }
  throw invalid('the connection URL has a malformed %-code', 'write %25 for a % sign');
}

function parsePairs(text: string): Settings {
  const settings: Settings = new Map();
  const pair =
    /\s*([^\s=']+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'(?=\s|$)|((?:[^\s'\\]|\\.)(?:[^\s\\]|\\.)*)?(?=\s|$))\s*/sy;
  while (pair.lastIndex < text.length) {
    const match = pair.exec(text);
    if (!match) throw invalid('the connection string is not a list of keyword=value');
    settings.set(match[1]!, (match[2] ?? match[3] ?? '').replace(/\\(.)/gs, '$1'));
  }
  return settings;
}
