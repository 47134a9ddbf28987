/**
 * Connecting: hosts in order, TLS with the fallbacks that sslmode allows, login, and the kind of server that was asked for.
 * https://www.postgresql.org/docs/current/libpq-connect.html
 */
import type pg from 'pg';
import { HelvinoError, interrupted } from '../base/errors.ts';
import { type Login, login } from './connect-login.ts';
import { type Encryption, openTransport, Transport, unreachable } from './connect-transport.ts';
import { type ConnectionParams, describeHost, type HostParams } from './conninfo.ts';

interface ConnectOptions {
  readonly database: string;
  readonly replication: boolean;
  /** Ends the attempt, not the connection once it is made. */
  readonly signal?: AbortSignal;
}

export interface Connected extends Login {
  readonly transport: Transport;
  readonly host: HostParams;
}

/**
 * An ordinary connection, to `database` or the one in `params`. Throws SERVER_UNREACHABLE, SERVER_AUTH, SERVER_TLS,
 * SERVER_ERROR with a hint; INTERRUPTED by `signal`. End it with `client.end()`.
 */
export async function connectSql(
  params: ConnectionParams,
  options: { database?: string; signal?: AbortSignal } = {},
): Promise<pg.Client> {
  const { client } = await connectServer(params, {
    database: options.database ?? params.database,
    replication: false,
    signal: options.signal,
  });
  return client;
}

/** As libpq, goes on to the next host when one cannot be reached, not when it refuses the login. */
export async function connectServer(params: ConnectionParams, options: ConnectOptions): Promise<Connected> {
  const rounds =
    params.targetSession === 'prefer-standby'
      ? (['standby', 'any'] as const)
      : ([params.targetSession] as const);
  const failures: HelvinoError[] = [];
  for (const wanted of rounds) {
    for (const host of params.hosts) {
      try {
        const connected = await connectHost(params, host, options);
        const problem = misfit(connected.status, wanted);
        if (problem === undefined) return connected;
        connected.transport.destroy();
        failures.push(
          new HelvinoError('SERVER_SETTING', `${describeHost(host)} ${problem}`, {
            hint: 'see target_session_attrs',
          }),
        );
      } catch (thrown) {
        if (!(thrown instanceof HelvinoError) || thrown.code !== 'SERVER_UNREACHABLE') throw thrown;
        failures.push(thrown);
      }
    }
  }
  if (failures.length === 1) throw failures[0]!;
  const all = failures.map((failure) => failure.message).join('; ');
  throw new HelvinoError('SERVER_UNREACHABLE', `none of the ${params.hosts.length} hosts will do: ${all}`, {
    hint: failures[0]!.hint,
    cause: failures[0],
  });
}

/** Why the server is not of the kind that was asked for; undefined when it is. */
function misfit(
  status: ReadonlyMap<string, string>,
  wanted: ConnectionParams['targetSession'],
): string | undefined {
  const standby = status.get('in_hot_standby') === 'on';
  const readOnly = standby || status.get('default_transaction_read_only') === 'on';
  if (wanted === 'primary' && standby) return 'is a standby, not a primary';
  if (wanted === 'standby' && !standby) return 'is a primary, not a standby';
  if (wanted === 'read-write' && readOnly) return 'takes no writes';
  if (wanted === 'read-only' && !readOnly) return 'takes writes';
  return undefined;
}

async function connectHost(
  params: ConnectionParams,
  host: HostParams,
  options: ConnectOptions,
): Promise<Connected> {
  const [first, second] = encryptions(params, host);
  const attempt: Attempt = { params, host, options, encryption: first, tried: { encrypted: false } };
  try {
    return await connectOnce(attempt);
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError) || !second || !worthOtherWay(thrown, attempt)) throw thrown;
    // The first failure says more than the second.
    return connectOnce({ ...attempt, encryption: second }).catch(() => Promise.reject(thrown));
  }
}

/** The ways to try: https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-SSLMODE-STATEMENTS */
function encryptions({ tls }: ConnectionParams, host: HostParams): [Encryption, Encryption?] {
  if (host.host.startsWith('/') || tls.mode === 'disable') return ['plain'];
  if (tls.mode === 'allow') return ['plain', 'must'];
  if (tls.mode === 'prefer') return ['ask', 'plain'];
  return ['must'];
}

/** A failed handshake, or pg_hba.conf that wants it the other way. */
function worthOtherWay(failure: HelvinoError, { encryption, tried }: Attempt): boolean {
  if (encryption === 'ask' && failure.code === 'SERVER_TLS') return true;
  return failure.context.sqlstate === '28000' && (encryption === 'plain' || tried.encrypted);
}

interface Attempt {
  readonly params: ConnectionParams;
  readonly host: HostParams;
  readonly options: ConnectOptions;
  readonly encryption: Encryption;
  readonly tried: { encrypted: boolean };
}

async function connectOnce({ params, host, options, encryption, tried }: Attempt): Promise<Connected> {
  const { signal } = options;
  if (signal?.aborted) throw interrupted(signal);
  const transport = new Transport();
  const stop = () => transport.destroy(interrupted(signal!));
  signal?.addEventListener('abort', stop, { once: true });
  const limit = params.connectTimeout;
  const late = Object.assign(new Error(`no answer within ${limit} s (connect_timeout)`), {
    code: 'ECONNECT_TIMEOUT',
  });
  const timer =
    limit === 0
      ? undefined
      : setTimeout(() => transport.destroy(unreachable(late, describeHost(host))), limit * 1000);
  try {
    await openTransport(transport, { host, tls: params.tls, encryption });
    tried.encrypted = transport.encrypted;
    const done = await login(transport, { params, host, ...options });
    return { ...done, transport, host };
  } catch (thrown) {
    transport.destroy();
    throw thrown;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', stop);
  }
}
