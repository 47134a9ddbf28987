/** A server as a WAL reading sees it: WAL without content, timelines, and ways to misbehave. */
import { HelvinoError } from '../src/base/errors.ts';
import type { WalServer } from '../src/operations/wal/wal-reading.ts';
import { formatLsn, type WalPositions, type WalSink } from '../src/postgres/index.ts';

type Done = Awaited<Awaited<ReturnType<WalServer['startPhysicalReplication']>>['done']>;

interface Start {
  readonly startLsn: bigint;
  readonly timeline: number;
}

export class FakeWalServer implements WalServer {
  timeline = 1;
  /** Where timelines were left, by number. */
  readonly switches = new Map<number, bigint>();
  end: bigint;
  /** Answers nothing any more. */
  dead = false;
  /** What the next start throws. */
  refusal: HelvinoError | undefined;
  /** Each beginning of a stream. */
  readonly starts: Start[] = [];
  readonly told: WalPositions[] = [];
  /** The stream that runs, if one does. */
  stream: FakeStream | undefined;

  constructor(end: bigint) {
    this.end = end;
  }

  write(bytes: number): void {
    this.end += BigInt(bytes);
    void this.stream?.send();
  }

  async identify() {
    await this.#answer();
    return { timeline: this.timeline, xlogpos: this.end };
  }

  async timelineHistory(): Promise<Uint8Array> {
    await this.#answer();
    const lines = [...this.switches].map(([timeline, lsn]) => `${timeline}\t${formatLsn(lsn)}\treason`);
    return Buffer.from(lines.join('\n'));
  }

  async startPhysicalReplication(start: Start, sink: WalSink): Promise<FakeStream> {
    await this.#answer();
    this.starts.push(start);
    const { refusal } = this;
    this.refusal = undefined;
    if (refusal) throw refusal;
    const left = this.switches.get(start.timeline);
    if (left !== undefined && start.startLsn > left)
      throw new HelvinoError('SERVER_ERROR', 'the starting point is not in this history');
    if (left === undefined && start.startLsn > this.end)
      throw new HelvinoError('SERVER_ERROR', 'the starting point is ahead of the flush position');
    this.stream = new FakeStream(this, start, sink);
    setImmediate(() => this.stream?.send());
    return this.stream;
  }

  async #answer(): Promise<void> {
    if (this.dead) await new Promise(() => undefined);
  }
}

class FakeStream {
  serverEnd = 0n;
  readonly done: Promise<Done>;
  readonly #server: FakeWalServer;
  readonly #sink: WalSink;
  readonly #timeline: number;
  readonly #ended = Promise.withResolvers<Done>();
  #at: bigint;
  #busy = false;

  constructor(server: FakeWalServer, { startLsn, timeline }: Start, sink: WalSink) {
    this.#server = server;
    this.#sink = sink;
    this.#timeline = timeline;
    this.#at = startLsn;
    this.done = this.#ended.promise;
  }

  sendStatus({ replyRequested, ...positions }: WalPositions & { replyRequested?: boolean }): void {
    this.#server.told.push(positions);
    if (replyRequested)
      setImmediate(() => this.#server.stream === this && !this.#server.dead && this.#sink.ready());
  }

  async stop(): Promise<void> {
    if (this.#server.dead) await new Promise(() => undefined);
    this.#finish({});
  }

  #finish(end: Done): void {
    if (this.#server.stream === this) this.#server.stream = undefined;
    this.#ended.resolve(end);
  }

  /** All that is there, in pieces, as long as the sink is ready. */
  async send(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    while (this.#server.stream === this && !this.#server.dead) {
      const left = this.#server.switches.get(this.#timeline);
      const end = left ?? this.#server.end;
      if (this.#at >= end) {
        if (left !== undefined) this.#finish(this.#endOfTimeline(left));
        break;
      }
      const length = Math.min(Number(end - this.#at), 64 << 10);
      this.serverEnd = this.#server.end;
      const from = this.#at;
      this.#at += BigInt(length);
      this.#sink.wal(from, new Uint8Array(length));
      await this.#sink.ready();
    }
    this.#busy = false;
  }

  #endOfTimeline(switchLsn: bigint): Done {
    return { endOfTimeline: { nextTimeline: this.#timeline + 1, switchLsn } };
  }
}
