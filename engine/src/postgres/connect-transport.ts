/**
 * An open byte stream to a server, plain or TLS, before any PostgreSQL message except the TLS request.
 *
 * A plain socket reads into one buffer that is used again for each read: that is much faster than 'data' events, and the
 * reason why `onBytes` gets a view that is valid during the call only. TLS over such a socket works: its decrypted bytes
 * come as 'data' events of the TLS socket.
 */
import { Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { HelvinoError, systemCode } from '../base/errors.ts';
import { tlsError, tlsOptions } from './connect-tls.ts';
import { describeHost, type HostParams, type TlsParams } from './conninfo.ts';

/** `ask`: take what the server offers. `must`: TLS or nothing. */
export type Encryption = 'plain' | 'ask' | 'must';

const readSize = 256 << 10;
/** https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-SSLREQUEST */
const sslRequest = Uint8Array.of(0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f);
const letterS = 0x53;
const letterN = 0x4e;

export class Transport {
  /** Called synchronously for each read. */
  onBytes: (bytes: Uint8Array) => void = () => {};
  /** Called once. `cause` is what broke the connection, if anything is known. */
  onClose: (cause: Error | undefined) => void = () => {};
  socket: Socket | TLSSocket;
  encrypted = false;
  /** The end of the connection, if `onClose` came too late. */
  closed: { readonly cause: Error | undefined } | undefined;
  #cause: Error | undefined;
  #paused = false;

  constructor() {
    const buffer = Buffer.allocUnsafeSlow(readSize);
    this.socket = new Socket({
      onread: {
        buffer,
        callback: (count) => {
          this.onBytes(buffer.subarray(0, count));
          return !this.#paused;
        },
      },
    } as ConstructorParameters<typeof Socket>[0]);
    this.socket.setNoDelay(true).setKeepAlive(true, 30_000);
    this.#watch(this.socket);
  }

  get paused(): boolean {
    return this.#paused;
  }

  pause(): void {
    this.#paused = true;
    this.socket.pause();
  }

  resume(): void {
    this.#paused = false;
    this.socket.resume();
  }

  /** Closes at once; `onClose` gets the cause. */
  destroy(cause?: Error): void {
    this.#cause ??= cause;
    this.socket.destroy();
  }

  /** Resolves when TLS is up. */
  async encrypt(options: Awaited<ReturnType<typeof tlsOptions>>, place: string): Promise<void> {
    const raw = this.socket;
    const secure = connectTls({ ...options, socket: raw });
    this.socket = secure;
    this.#watch(secure);
    await new Promise<void>((resolve, reject) => {
      secure.once('secureConnect', resolve);
      this.onClose = (cause) => {
        if (cause instanceof HelvinoError) reject(cause);
        else reject(tlsError(cause ?? new Error('the server closed the connection'), place));
      };
    });
    this.encrypted = true;
    secure.on('data', (bytes) => this.onBytes(bytes as Buffer));
  }

  /** Of a TLS connection, both sockets are watched; the first to close ends it. */
  #watch(socket: Socket): void {
    socket.on('error', (error) => (this.#cause ??= error));
    socket.on('close', () => {
      if (this.closed) return;
      this.closed = { cause: this.#cause };
      this.onClose(this.#cause);
    });
  }
}

interface TransportOptions {
  readonly host: HostParams;
  readonly tls: TlsParams;
  readonly encryption: Encryption;
}

/**
 * Connects `transport`, and sets TLS up as asked. Throws SERVER_UNREACHABLE, SERVER_TLS. A timeout is the caller's, by `destroy`.
 */
export async function openTransport(
  transport: Transport,
  { host, tls, encryption }: TransportOptions,
): Promise<void> {
  const place = describeHost(host);
  const target = host.host.startsWith('/')
    ? { path: `${host.host}/.s.PGSQL.${host.port}` }
    : { host: host.address ?? host.host, port: host.port };
  await new Promise<void>((resolve, reject) => {
    transport.onClose = (cause) => reject(unreachable(cause, place));
    transport.socket.connect(target, resolve);
  });
  if (encryption === 'plain') return;
  const options = await tlsOptions(tls, host);
  if (tls.negotiation === 'postgres' && !(await serverHasTls(transport, place))) {
    if (encryption === 'ask') return;
    throw new HelvinoError(
      'SERVER_TLS',
      `the server at ${place} does not offer TLS, and sslmode is ${tls.mode}`,
      {
        hint: 'turn ssl on in postgresql.conf, or use sslmode=prefer',
      },
    );
  }
  await transport.encrypt(options, place);
}

async function serverHasTls(transport: Transport, place: string): Promise<boolean> {
  const answer = await new Promise<Uint8Array>((resolve, reject) => {
    transport.onClose = (cause) => reject(unreachable(cause, place));
    transport.onBytes = (bytes) => resolve(Uint8Array.from(bytes));
    transport.socket.write(sslRequest);
    transport.resume();
  });
  transport.onBytes = () => {};
  // More than one byte would be plain text smuggled in before TLS (CVE-2021-23222).
  if (answer.length === 1 && answer[0] === letterS) return true;
  if (answer.length === 1 && answer[0] === letterN) return false;
  throw new HelvinoError(
    'SERVER_TLS',
    `the server at ${place} did not answer the request for TLS as PostgreSQL does`,
    {
      hint: 'check host and port: is it PostgreSQL that listens there?',
    },
  );
}

const reasons: Readonly<Record<string, readonly [string, string]>> = {
  ECONNREFUSED: [
    'the connection was refused',
    'check that the server runs, and its host, port and listen_addresses',
  ],
  ENOENT: ['there is no such socket', 'check that the server runs, its port and unix_socket_directories'],
  EACCES: ['this user may not use the socket', 'check unix_socket_permissions, or connect over TCP'],
  ENOTFOUND: ['the host name is unknown', 'check the host name and the name service'],
  EAI_AGAIN: ['the host name could not be looked up', 'check the name service, then try again'],
  ETIMEDOUT: ['no answer', 'check the address, and firewalls on the way'],
  EHOSTUNREACH: ['the host cannot be reached', 'check the address, and the network'],
  ENETUNREACH: ['the network cannot be reached', 'check the address, and the network'],
};

export function unreachable(cause: Error | undefined, place: string): HelvinoError {
  if (cause instanceof HelvinoError) return cause;
  const code = systemCode(cause) ?? systemCode((cause as AggregateError | undefined)?.errors?.[0]);
  const [reason, hint] = reasons[code ?? ''] ?? [
    cause?.message || 'the server closed the connection',
    'check the log of the server',
  ];
  return new HelvinoError('SERVER_UNREACHABLE', `cannot connect to ${place}: ${reason}`, {
    hint,
    cause,
    context: { place, system: code },
  });
}
