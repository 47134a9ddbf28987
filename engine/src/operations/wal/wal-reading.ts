/**
 * Reads the WAL of one timeline: a calm server is listened to, a busy one is visited.
 *
 * A sender that streams is woken by each commit, and so is whoever reads from it: at thousands of commits a second both take
 * processor time from the server for WAL that is stored once an interval anyway. A sender that waits for its next command is
 * left in peace (from PostgreSQL 16 on; before, it costs half). So from a busy server the WAL is fetched several times a second,
 * all there is, and the stream ends in between. The slot keeps what was not confirmed, as always.
 */
import type { Clock } from '../../base/clock.ts';
import type { ReplicationConnection, WalPositions, WalSink, WalStream } from '../../postgres/index.ts';

interface ReadingOptions {
  readonly replication: ReplicationConnection;
  readonly slot: string;
  readonly timeline: number;
  readonly startLsn: bigint;
  readonly sink: WalSink;
  /** Read each commit at once, and never leave. */
  readonly synchronous: boolean;
  /** May the stream end between two reads? */
  readonly mayLeave: boolean;
  /** The pause between two reads when all has come, in milliseconds. */
  readonly restMs: number;
  readonly clock: Clock;
}

/** The end of the timeline; undefined: ended by us. */
type End = { readonly nextTimeline: number; readonly switchLsn: bigint } | undefined;

/** Bytes; a read that brought more may have left some. */
const smallRead = 16 << 10;
/** Bytes of WAL a second from which on a server is busy, and to which a busy one must come down: some hundred commits. */
const busyRate = 256 << 10;
const calmRate = 64 << 10;

export class WalReading {
  readonly #options: ReadingOptions;
  readonly #stop = new AbortController();
  readonly #pace: Pace;
  #stream: WalStream | undefined;
  #received: bigint;
  #serverEnd = 0n;
  #positions: WalPositions | undefined;
  #told: WalPositions | undefined;

  constructor(options: ReadingOptions) {
    this.#options = options;
    this.#received = options.startLsn;
    this.#pace = new Pace(options.clock, options.startLsn);
  }

  /** The end of WAL on the server, as it last said. */
  get serverEnd(): bigint {
    const now = this.#stream?.serverEnd ?? 0n;
    return now > this.#serverEnd ? now : this.#serverEnd;
  }

  /** What the owner has: the server is told now, or with the next visit. */
  sendStatus(positions: WalPositions): void {
    this.#positions = positions;
    this.#tell();
  }

  /** Ends it; the sink gets nothing more. */
  stop(): void {
    this.#stop.abort();
    void this.#stream?.stop().catch(() => undefined);
  }

  /** Until the end of the timeline, or `stop`. */
  async run(): Promise<End> {
    const { signal } = this.#stop;
    let upTo: bigint | undefined;
    while (!signal.aborted) {
      const end = await this.#stretch(upTo);
      if (end !== undefined) return end;
      upTo = await this.#next();
    }
    return undefined;
  }

  /** Waits until another visit is due. How far it goes; undefined: it may last. */
  async #next(): Promise<bigint | undefined> {
    const { replication, timeline, clock, restMs } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await clock.sleep(restMs, signal).catch(() => undefined);
      if (signal.aborted) return undefined;
      const server = await replication.identify();
      this.#serverEnd = server.xlogpos;
      // The end of a timeline is told only to whoever stays.
      if (server.timeline !== timeline || !this.#pace.isBusy(server.xlogpos)) return undefined;
      if (server.xlogpos > this.#received || this.#positions !== this.#told) return server.xlogpos;
    }
    return undefined;
  }

  /** One stream, up to a position that the server has reached, or until the server turns out to be busy. */
  async #stretch(upTo: bigint | undefined): Promise<End> {
    const { replication, slot, timeline, sink } = this.#options;
    let before = this.#received;
    const stream = await replication.startPhysicalReplication(
      { slot, startLsn: this.#received, timeline },
      {
        wal: (at, bytes) => {
          sink.wal(at, bytes);
          this.#received = at + BigInt(bytes.length);
        },
        ready: () => {
          const isSmall = this.#received - before < smallRead;
          before = this.#received;
          return sink.ready() ?? this.#pause(stream, { upTo, isSmall });
        },
      },
    );
    this.#stream = stream;
    this.#told = undefined;
    this.#tell();
    if (this.#stop.signal.aborted || (upTo !== undefined && this.#received >= upTo)) this.#leave(stream);
    try {
      return (await stream.done).endOfTimeline;
    } finally {
      this.#serverEnd = this.serverEnd;
      this.#stream = undefined;
    }
  }

  /**
   * Asked after each read. When all that the server had is here, a moment's rest, so that the next read gets the WAL of many
   * commits, not of one; or the end of the visit.
   */
  #pause(
    stream: WalStream,
    { upTo, isSmall }: { upTo: bigint | undefined; isSmall: boolean },
  ): Promise<void> | undefined {
    const { synchronous, mayLeave, clock, restMs } = this.#options;
    if (upTo !== undefined) {
      if (this.#received >= upTo) this.#leave(stream);
      return undefined;
    }
    if (synchronous || !isSmall || this.#received < stream.serverEnd) return undefined;
    if (mayLeave && this.#pace.isBusy(stream.serverEnd)) {
      this.#leave(stream);
      return undefined;
    }
    return clock.sleep(restMs, this.#stop.signal).catch(() => undefined);
  }

  /** From now on what is told waits for the next visit. */
  #leave(stream: WalStream): void {
    this.#serverEnd = this.serverEnd;
    this.#stream = undefined;
    void stream.stop().catch(() => undefined);
  }

  #tell(): void {
    if (!this.#stream || !this.#positions || this.#positions === this.#told) return;
    this.#told = this.#positions;
    this.#stream.sendStatus(this.#positions);
  }
}

/** How fast the server writes, judged about once a second; what happens between two judgements is not news. */
class Pace {
  readonly #clock: Clock;
  #at: number;
  #end: bigint;
  #busy = false;

  constructor(clock: Clock, end: bigint) {
    this.#clock = clock;
    this.#at = clock.monotonic();
    this.#end = end;
  }

  isBusy(end: bigint): boolean {
    const now = this.#clock.monotonic();
    const seconds = (now - this.#at) / 1000;
    if (seconds < 1) return this.#busy;
    const rate = Number(end - this.#end) / seconds;
    this.#busy = rate > (this.#busy ? calmRate : busyRate);
    this.#at = now;
    this.#end = end;
    return this.#busy;
  }
}
