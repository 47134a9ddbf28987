/**
 * A replication connection as a channel for one exchange at a time: a request, then messages up to ReadyForQuery. The
 * channel reads the socket, pauses it when the exchange asks, and turns every way to fail into one rejection.
 */
import { HelvinoError, interrupted } from '../../base/errors.ts';
import type { Connected } from '../connect.ts';
import type { Transport } from '../connect-transport.ts';
import { describeHost } from '../conninfo.ts';
import { type BackendHandler, BackendReader } from '../wire/backend-messages.ts';
import { terminateMessage } from '../wire/frontend-messages.ts';
import { readServerMessage } from '../wire/message-body.ts';
import { type ServerMessage, serverError } from '../wire/server-error.ts';

/** Sees the messages of one exchange, errors and ReadyForQuery left out. What it throws ends the connection. */
export interface Exchange extends BackendHandler {
  /** Asked after every socket read; reading goes on when the promise resolves. */
  ready?(): Promise<void> | undefined;
  notice?(notice: ServerMessage): void;
  /** The server has reported an error; ReadyForQuery is still to come. */
  errored?(): void;
  /** A server error as what the caller gets. */
  mapError?(error: HelvinoError): HelvinoError;
}

const letter = (text: string) => text.charCodeAt(0);
const errorResponse = letter('E');
const noticeResponse = letter('N');
const parameterStatus = letter('S');
const readyForQuery = letter('Z');

export class Channel implements BackendHandler {
  readonly #transport: Transport;
  readonly #user: string;
  readonly #place: string;
  readonly #reader = new BackendReader(this);
  #exchange: Exchange | undefined;
  #settle: { resolve(): void; reject(thrown: unknown): void } | undefined;
  /** The error that the exchange at hand will end with. */
  #error: HelvinoError | undefined;
  #failure: { readonly thrown: unknown } | undefined;
  #closing = false;
  #whenClosed: () => void = () => {};

  /** Takes the connection over, with the bytes that have come since the login. */
  constructor(connected: Connected, user: string) {
    this.#transport = connected.transport;
    this.#user = user;
    this.#place = describeHost(connected.host);
    this.#transport.onBytes = (bytes) => this.#receive(bytes);
    this.#transport.onClose = (cause) => this.#closed(cause);
    const rest = connected.rest();
    if (rest.length > 0) this.#receive(rest);
    if (this.#transport.closed) this.#closed(this.#transport.closed.cause);
  }

  get user(): string {
    return this.#user;
  }

  /** Resolves at ReadyForQuery; rejects with the server's error, or with what broke the connection. */
  async run(request: Uint8Array, exchange: Exchange, signal?: AbortSignal): Promise<void> {
    if (this.#failure) throw this.#failure.thrown;
    if (this.#exchange)
      throw new HelvinoError('INTERNAL', 'two commands at once on one replication connection');
    const abort = () => this.fail(interrupted(signal!));
    if (signal?.aborted) throw interrupted(signal);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await new Promise<void>((resolve, reject) => {
        this.#exchange = exchange;
        this.#settle = { resolve, reject };
        this.#error = undefined;
        this.#transport.socket.write(request);
      });
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Undefined when more may be written at once; else resolves when it may, or when the connection has failed. */
  write(bytes: Uint8Array): Promise<void> | undefined {
    if (this.#failure) return undefined;
    const { socket } = this.#transport;
    if (socket.write(bytes)) return undefined;
    return new Promise((resolve) => {
      const done = () => {
        socket.off('drain', done).off('close', done);
        resolve();
      };
      socket.on('drain', done).on('close', done);
    });
  }

  /** Reads on although the exchange's `ready` has not resolved. */
  resume(): void {
    if (!this.#failure) this.#transport.resume();
  }

  /** Ends the connection; what runs is rejected with exactly `thrown`. */
  fail(thrown: unknown): void {
    this.#failure ??= { thrown };
    const settle = this.#settle;
    this.#exchange = undefined;
    this.#settle = undefined;
    this.#transport.destroy();
    settle?.reject(this.#failure.thrown);
  }

  /** Says goodbye, or cuts the connection off when something runs. */
  async close(): Promise<void> {
    if (this.#transport.closed) return;
    const closed = new Promise<void>((resolve) => {
      this.#whenClosed = resolve;
    });
    this.#closing = true;
    if (this.#exchange || this.#failure)
      this.fail(new HelvinoError('INTERRUPTED', 'the connection was closed by us'));
    else this.#transport.socket.end(terminateMessage);
    const patience = setTimeout(() => this.#transport.destroy(), 2000);
    await closed;
    clearTimeout(patience);
  }

  message(type: number, body: Uint8Array): void {
    if (type === errorResponse) this.#serverError(readServerMessage(body));
    else if (type === noticeResponse) this.#exchange?.notice?.(readServerMessage(body));
    else if (type === readyForQuery) this.#finish();
    else if (type !== parameterStatus) this.#current().message(type, body);
  }

  copyStart(length: number): void {
    this.#current().copyStart(length);
  }

  copyData(bytes: Uint8Array): void {
    this.#current().copyData(bytes);
  }

  copyEnd(): void {
    this.#current().copyEnd();
  }

  #current(): Exchange {
    if (this.#exchange) return this.#exchange;
    throw new HelvinoError('PROTOCOL', 'the server sent a message that nothing asked for');
  }

  #receive(bytes: Uint8Array): void {
    if (this.#failure) return;
    try {
      this.#reader.push(bytes);
      const wait = this.#exchange?.ready?.();
      if (!wait) return;
      this.#transport.pause();
      wait.then(
        () => this.resume(),
        (thrown: unknown) => this.fail(thrown),
      );
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  #serverError(report: ServerMessage): void {
    const error = serverError(report, this.#user);
    const mapped = this.#exchange?.mapError?.(error) ?? error;
    if (report.severity !== 'ERROR' || !this.#exchange) {
      this.fail(mapped);
      return;
    }
    this.#error ??= mapped;
    this.#exchange.errored?.();
  }

  #finish(): void {
    const settle = this.#settle;
    this.#exchange = undefined;
    this.#settle = undefined;
    if (this.#error) settle?.reject(this.#error);
    else settle?.resolve();
  }

  #closed(cause: Error | undefined): void {
    if (!this.#closing) {
      const hint = 'check the log of the server, and the network; then try again';
      this.fail(
        new HelvinoError(
          'SERVER_GONE',
          `the connection to ${this.#place} broke${cause ? `: ${cause.message}` : ''}`,
          { hint, cause },
        ),
      );
    }
    this.#whenClosed();
  }
}
