/**
 * Startup and authentication by `pg`, over a transport that is already open. For a replication connection `pg` sees exactly
 * the messages up to the first ReadyForQuery; every byte after it belongs to whoever takes the transport over.
 */
import { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import pg from 'pg';
import { HelvinoError } from '../base/errors.ts';
import { type Transport, unreachable } from './connect-transport.ts';
import { type ConnectionParams, describeHost, type HostParams, passwordFor } from './conninfo.ts';
import { type ServerMessage, serverError } from './wire/server-error.ts';

export interface Login {
  readonly client: pg.Client;
  /** ParameterStatus by name: `server_version`, `in_hot_standby` … */
  readonly status: ReadonlyMap<string, string>;
  /** Bytes that came after ReadyForQuery (replication only), and more as they come, until the transport is taken over. */
  rest(): Uint8Array;
}

interface LoginOptions {
  readonly params: ConnectionParams;
  readonly host: HostParams;
  readonly database: string;
  readonly replication: boolean;
}

/** Throws SERVER_AUTH, SERVER_UNREACHABLE, SERVER_ERROR and the like. */
export async function login(transport: Transport, options: LoginOptions): Promise<Login> {
  const { params, host, database, replication } = options;
  const stream = replication ? new StartupOnlyStream(transport) : new PgStream(transport);
  const client = new pg.Client({
    host: host.host,
    port: host.port,
    user: params.user,
    database,
    password: () => passwordOf(options),
    ssl: false,
    application_name: params.applicationName,
    options: params.options,
    enableChannelBinding: params.channelBinding === 'require',
    stream: () => stream as unknown as Duplex,
    ...(replication ? { replication: 'true' } : {}),
  });
  // Without a listener a connection that breaks while idle would end the process; the next query reports it anyway.
  client.on('error', () => {});
  const status = new Map<string, string>();
  client.connection.on('parameterStatus', (message: { parameterName: string; parameterValue: string }) => {
    status.set(message.parameterName, message.parameterValue);
  });
  const refusal = params.channelBinding === 'require' ? requireChannelBinding(client, transport) : undefined;
  try {
    await client.connect();
    // A server that asks for nothing is ready in the same read, before the cut shows.
    if (refusal?.error) throw refusal.error;
  } catch (thrown) {
    transport.destroy();
    throw loginError(thrown, transport, options);
  }
  return {
    client,
    status,
    rest: () => (stream instanceof StartupOnlyStream ? stream.rest : new Uint8Array(0)),
  };
}

function passwordOf({ params, host, database, replication }: LoginOptions): string {
  const password = passwordFor(params, host, replication ? 'replication' : database);
  if (password) return password;
  const ignored = params.warnings.map((warning) => `; ${warning}`).join('');
  throw new HelvinoError(
    'SERVER_AUTH',
    `the server at ${describeHost(host)} asks for a password of ${params.user}, and none was given${ignored}`,
    {
      hint: 'set PGPASSWORD, add a line to ~/.pgpass (mode 600), or put it into the connection URL',
    },
  );
}

/** The password must not leave before the server has offered to prove that it ends the TLS connection itself. */
function requireChannelBinding(
  client: pg.Client,
  transport: Transport,
): { readonly error: HelvinoError | undefined } {
  let bound = false;
  const refusal: { error: HelvinoError | undefined } = { error: undefined };
  const check = () => {
    if (bound || refusal.error) return;
    refusal.error = new HelvinoError(
      'SERVER_TLS',
      'channel_binding is require, and the server does not offer SCRAM-SHA-256-PLUS',
      {
        hint: 'use TLS and a scram-sha-256 password, or channel_binding=prefer',
      },
    );
    transport.destroy(refusal.error);
  };
  client.connection.on('authenticationSASL', ({ mechanisms }: { mechanisms: string[] }) => {
    bound = transport.encrypted && mechanisms.includes('SCRAM-SHA-256-PLUS');
    check();
  });
  const others = ['authenticationCleartextPassword', 'authenticationMD5Password', 'authenticationOk'];
  for (const event of others) client.connection.on(event, check);
  return refusal;
}

function loginError(thrown: unknown, transport: Transport, { params, host }: LoginOptions): HelvinoError {
  const cause = transport.closed?.cause;
  if (cause instanceof HelvinoError) return cause;
  if (thrown instanceof HelvinoError) return thrown;
  if (thrown instanceof pg.DatabaseError) {
    return serverError(
      {
        ...thrown,
        severity: thrown.severity ?? 'FATAL',
        code: thrown.code ?? '',
        message: thrown.message,
      } as ServerMessage,
      params.user,
    );
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  if (message.startsWith('SASL')) {
    return new HelvinoError('SERVER_AUTH', `the login as ${params.user} failed: ${message}`, {
      cause: thrown,
    });
  }
  return unreachable(cause ?? (thrown as Error), describeHost(host));
}

/** What `pg` needs of a socket. */
class PgStream extends EventEmitter {
  readonly transport: Transport;

  constructor(transport: Transport) {
    super();
    this.transport = transport;
    transport.onBytes = (bytes) => this.receive(bytes);
    transport.onClose = (cause) => {
      if (cause) this.emit('error', cause);
      this.emit('close');
    };
    transport.socket.on('drain', () => this.emit('drain'));
    if (transport.socket instanceof TLSSocket) {
      const socket = transport.socket;
      this.getPeerCertificate = () => socket.getPeerCertificate();
    }
  }

  getPeerCertificate?: () => unknown;

  get writable(): boolean {
    return this.transport.socket.writable;
  }

  get writableNeedDrain(): boolean {
    return this.transport.socket.writableNeedDrain;
  }

  pause(): void {
    this.transport.pause();
  }

  resume(): void {
    this.transport.resume();
  }

  /** It is connected: `pg` waits for the event. */
  connect(): this {
    process.nextTick(() => this.emit('connect'));
    this.transport.resume();
    return this;
  }

  write(bytes: Uint8Array, done?: () => void): boolean {
    return this.transport.socket.write(bytes, done);
  }

  end(): void {
    this.transport.socket.end();
  }

  destroy(cause?: Error): void {
    this.transport.destroy(cause);
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): void {
    this.transport.socket.ref();
  }

  unref(): void {
    this.transport.socket.unref();
  }

  protected receive(bytes: Uint8Array): void {
    // `pg` keeps parts of what it gets, and the transport uses its buffer again.
    this.emit('data', Buffer.from(bytes));
  }
}

const readyForQuery = 0x5a;
/** No message of a startup is nearly as long. */
const longestMessage = 1 << 20;

/** Hands on whole messages up to the first ReadyForQuery, and keeps what comes after it. */
class StartupOnlyStream extends PgStream {
  rest: Uint8Array = new Uint8Array(0);
  #ready = false;

  protected override receive(bytes: Uint8Array): void {
    const all = Buffer.concat([this.rest, bytes]);
    let at = 0;
    while (!this.#ready && all.length - at >= 5) {
      const length = all.readUInt32BE(at + 1);
      if (length < 4 || length > longestMessage) {
        this.transport.destroy(
          new HelvinoError('PROTOCOL', `a message of ${length} bytes during startup: this is not PostgreSQL`),
        );
        return;
      }
      const end = at + 1 + length;
      if (end > all.length) break;
      this.#ready = all[at] === readyForQuery;
      this.emit('data', all.subarray(at, end));
      at = end;
    }
    this.rest = all.subarray(at);
  }
}
