/**
 * `START_REPLICATION … PHYSICAL`: WAL as it is written.
 * https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-START-REPLICATION
 *
 * Nothing is confirmed to the server but what the owner has passed to `sendStatus`.
 */
import { systemClock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import { formatLsn, parseLsn } from '../lsn.ts';
import {
  copyDoneMessage,
  queryMessage,
  standbyStatusMessage,
  type WalPositions,
} from '../wire/frontend-messages.ts';
import { MessageBody } from '../wire/message-body.ts';
import type { Channel } from './channel.ts';
import { quoteName } from './quote.ts';
import { column, RowExchange, unexpected } from './row-exchange.ts';

export interface PhysicalReplicationOptions {
  readonly slot?: string;
  /** Where to begin; of a segment's start, if whole segments are wanted. */
  readonly startLsn: bigint;
  readonly timeline: number;
}

export interface WalSink {
  /** WAL from `startLsn` on, without gaps. A view that is valid during the call only. What it throws ends the connection. */
  wal(startLsn: bigint, bytes: Uint8Array): void;
  /** Asked after every socket read: if a promise, nothing is read until it resolves. */
  ready(): Promise<void> | undefined;
}

interface WalStreamEnd {
  /** The server has switched to another timeline at `switchLsn`, up to which all was sent. */
  readonly endOfTimeline?: { readonly nextTimeline: number; readonly switchLsn: bigint };
}

/** So that the server's wal_sender_timeout (a minute) does not strike while a sink is slow. */
const statusInterval = 10_000;

/** Resolves when the server has begun to stream, or has said that the timeline has no more WAL. */
export async function startWalStream(
  channel: Channel,
  { slot, startLsn, timeline }: PhysicalReplicationOptions,
  sink: WalSink,
): Promise<WalStream> {
  const from = slot === undefined ? '' : `SLOT ${quoteName(slot)} `;
  const stream = new WalStream(channel, startLsn, sink);
  await stream.start(
    queryMessage(`START_REPLICATION ${from}PHYSICAL ${formatLsn(startLsn)} TIMELINE ${timeline}`),
  );
  return stream;
}

export class WalStream {
  /** Rejects when the stream breaks; resolves after `stop`, or at the end of the timeline. */
  readonly done: Promise<WalStreamEnd>;
  readonly #channel: Channel;
  readonly #exchange: WalExchange;
  readonly #ended = Promise.withResolvers<WalStreamEnd>();
  #positions: WalPositions = { written: 0n, flushed: 0n, applied: 0n };
  #stopping = false;

  constructor(channel: Channel, startLsn: bigint, sink: WalSink) {
    this.#channel = channel;
    this.#exchange = new WalExchange(startLsn, sink, {
      reply: () => this.#status(false),
      finish: () => this.#finish(),
    });
    this.done = this.#ended.promise;
    // Whoever calls stop() or awaits the start hears of it too.
    this.done.catch(() => {});
  }

  /** The position after the last byte received; the sink has been given all up to it. */
  get received(): bigint {
    return this.#exchange.received;
  }

  /** The end of WAL on the server, as it last said. */
  get serverEnd(): bigint {
    return this.#exchange.serverEnd;
  }

  async start(request: Uint8Array): Promise<void> {
    const timer = setInterval(() => this.#exchange.streaming && this.#status(false), statusInterval);
    const run = this.#channel.run(request, this.#exchange).finally(() => clearInterval(timer));
    const begun = Promise.race([this.#exchange.begun, run]);
    // WAL may come in the same read as the answer: the sink gets it once the caller has this handle.
    const open = begun.then(afterCaller).then(() => this.#open());
    run
      .then(() => open)
      .then(() => this.#end())
      .then(
        (end) => this.#ended.resolve(end),
        (thrown: unknown) => this.#ended.reject(thrown),
      );
    open.catch(() => {});
    await begun;
  }

  #open(): void {
    try {
      this.#exchange.open();
    } catch (thrown) {
      this.#channel.fail(thrown);
      throw thrown;
    }
  }

  /** What the owner has. The server frees WAL of the slot up to `flushed`. */
  sendStatus(status: WalPositions & { readonly replyRequested?: boolean }): void {
    this.#positions = { written: status.written, flushed: status.flushed, applied: status.applied };
    this.#status(status.replyRequested ?? false);
  }

  /** Ends the stream and leaves the connection usable; the sink gets nothing more. */
  async stop(): Promise<void> {
    if (!this.#stopping && this.#exchange.streaming) {
      this.#exchange.discard();
      this.#channel.resume();
      this.#finish();
    }
    await this.done;
  }

  #finish(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    void this.#channel.write(copyDoneMessage);
  }

  #status(reply: boolean): void {
    if (!this.#stopping)
      void this.#channel.write(
        standbyStatusMessage(this.#positions, { now: systemClock.now().getTime(), reply }),
      );
  }

  #end(): WalStreamEnd {
    const row = this.#exchange.sets[0]?.[0];
    if (row === undefined || this.#exchange.discarding) return {};
    return {
      endOfTimeline: {
        nextTimeline: Number(column(row, 'next_tli')),
        switchLsn: parseLsn(column(row, 'next_tli_startpos')),
      },
    };
  }
}

function afterCaller(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

const copyBothResponse = 0x57;
const copyDone = 0x63;
const walData = 0x77;
const keepalive = 0x6b;
const walHeader = 25;
const keepaliveSize = 18;

class WalExchange extends RowExchange {
  received: bigint;
  serverEnd = 0n;
  streaming = false;
  discarding = false;
  #hasBegun = false;
  readonly begun: Promise<void>;
  readonly #sink: WalSink;
  readonly #stream: { reply(): void; finish(): void };
  readonly #begin: () => void;
  readonly #opened = Promise.withResolvers<void>();
  /** What came before `open`: at most one socket read. */
  #held: { readonly at: bigint; readonly bytes: Buffer }[] | undefined = [];
  /** The fixed part of the open message. */
  readonly #head = Buffer.alloc(walHeader);
  #filled = 0;
  #wanted = 0;

  constructor(startLsn: bigint, sink: WalSink, stream: { reply(): void; finish(): void }) {
    super();
    this.received = startLsn;
    this.#sink = sink;
    this.#stream = stream;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.begun = promise;
    this.#begin = resolve;
  }

  discard(): void {
    this.discarding = true;
  }

  /** From now on the sink is called, first with what was held. */
  open(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const { at, bytes } of held) if (!this.discarding) this.#sink.wal(at, bytes);
    this.#opened.resolve();
  }

  ready(): Promise<void> | undefined {
    // Before the stream has begun, what is still to come may be the rest of a refusal.
    if (this.discarding || !this.#hasBegun) return undefined;
    return this.#held ? this.#opened.promise.then(() => this.ready()) : this.#sink.ready();
  }

  protected override other(type: number): boolean {
    if (type === copyBothResponse) {
      this.streaming = true;
      this.#hasBegun = true;
      this.#begin();
    } else if (type === copyDone) {
      this.streaming = false;
      this.#stream.finish();
    } else return false;
    return true;
  }

  override copyStart(): void {
    this.#filled = 0;
    this.#wanted = 1;
  }

  override copyData(bytes: Uint8Array): void {
    let rest = bytes;
    while (this.#filled < this.#wanted && rest.length > 0) {
      const count = Math.min(rest.length, this.#wanted - this.#filled);
      this.#head.set(rest.subarray(0, count), this.#filled);
      this.#filled += count;
      rest = rest.subarray(count);
      if (this.#filled === 1) this.#wanted = fixedSize(this.#head[0]!);
      else if (this.#filled === walHeader) this.#walBegins();
    }
    if (rest.length === 0) return;
    if (this.#head[0] !== walData) throw unexpected(this.#head[0]!);
    const at = this.received;
    this.received += BigInt(rest.length);
    // A length that was garbled on the way would make WAL of the messages that follow.
    if (this.received > this.serverEnd)
      throw new HelvinoError(
        'PROTOCOL',
        `the server sent WAL up to ${formatLsn(this.received)}, and said that it has WAL up to ${formatLsn(this.serverEnd)}`,
      );
    if (this.#held) this.#held.push({ at, bytes: Buffer.from(rest) });
    else if (!this.discarding) this.#sink.wal(at, rest);
  }

  override copyEnd(): void {
    if (this.#filled < this.#wanted) throw unexpected(this.#head[0]!);
    if (this.#head[0] !== keepalive) return;
    const body = new MessageBody(this.#head.subarray(1, keepaliveSize));
    this.serverEnd = body.int64();
    body.skip(8);
    if (body.byte() === 1) this.#stream.reply();
  }

  /** Start and end of WAL, and the time of sending. */
  #walBegins(): void {
    const body = new MessageBody(this.#head.subarray(1));
    const start = body.int64();
    this.serverEnd = body.int64();
    if (start !== this.received) {
      throw new HelvinoError(
        'PROTOCOL',
        `the server sent WAL from ${formatLsn(start)}, and ${formatLsn(this.received)} was due`,
      );
    }
  }
}

function fixedSize(type: number): number {
  if (type === walData) return walHeader;
  if (type === keepalive) return keepaliveSize;
  throw unexpected(type);
}
