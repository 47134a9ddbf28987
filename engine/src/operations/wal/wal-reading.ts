/**
 * Reads the WAL of one timeline: a calm server is listened to, a busy one is visited.
 *
 * A sender that streams is woken by each commit, and so is whoever reads from it: at thousands of commits a second both take
 * processor time from the server for WAL that is stored once an interval anyway. A sender that waits for its next command is
 * left in peace (from PostgreSQL 16 on; before, it costs half). So from a busy server the WAL is fetched when it is soon to be
 * stored, all there is, and another visit tells that it is stored. The slot keeps what was not confirmed, as always.
 */
import type { Clock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import {
  parseTimelineHistory,
  type ReplicationConnection,
  type WalPositions,
  type WalSink,
  type WalStream,
} from '../../postgres/index.ts';
import { Bell } from './bell.ts';

/** What is needed of a replication connection. */
export interface WalServer extends Pick<ReplicationConnection, 'timelineHistory'> {
  identify(): Promise<{ readonly timeline: number; readonly xlogpos: bigint }>;
  startPhysicalReplication(
    options: { readonly slot: string; readonly startLsn: bigint; readonly timeline: number },
    sink: WalSink,
  ): Promise<Stretch>;
}

type Stretch = Pick<WalStream, 'done' | 'serverEnd' | 'sendStatus' | 'stop'>;

export interface ReadingOptions {
  readonly replication: WalServer;
  readonly slot: string;
  readonly timeline: number;
  readonly startLsn: bigint;
  readonly sink: WalSink;
  /** Read each commit at once, and never leave. */
  readonly synchronous: boolean;
  /** May the stream end between two reads? Asked at the start and before each visit; the first no is the last word. */
  readonly mayLeave: () => Promise<boolean>;
  /** A standby, which may have to get to the start again after its own restart. */
  readonly standby: boolean;
  /** The pause between two reads when all has come, in milliseconds. */
  readonly restMs: number;
  /** The pause between two visits to a busy server, in milliseconds. */
  readonly visitMs: number;
  /** Told when all has come for which a visit was due: a good time to store. */
  readonly onVisited?: () => void;
  readonly clock: Clock;
}

/** The end of the timeline; undefined: ended by us. */
type End = { readonly nextTimeline: number; readonly switchLsn: bigint } | undefined;

/** Bytes; a read that brought more may have left some. */
const smallRead = 16 << 10;
/** Bytes of WAL a second from which on a server is busy, and to which a busy one must come down: some hundred commits. */
const busyRate = 256 << 10;
const calmRate = 64 << 10;
/** Judgements in a row: a burst, say the page images of one new table after a checkpoint, makes no busy server. */
const busyFor = 3;
/** Milliseconds; a server that is told to end the stream and does not is dead. */
const patienceMs = 5000;
/** Milliseconds after which a silent server is asked for a sign of life, and after which it is dead: as long as it waits for us. */
const askMs = 10_000;
const silenceMs = 60_000;
/** Before a visit that only tells there is a rest of at least this part of the usual one. */
const newsShare = 4;
const nothing: WalPositions = { written: 0n, flushed: 0n, applied: 0n };

export class WalReading {
  readonly #options: ReadingOptions;
  readonly #stop = new AbortController();
  readonly #late = Promise.withResolvers<undefined>();
  readonly #pace: Pace;
  #mayLeave = false;
  #stream: Stretch | undefined;
  #received: bigint;
  #serverEnd = 0n;
  #positions: WalPositions | undefined;
  #told: WalPositions | undefined;
  /** Something is to be told while no stream runs. */
  readonly #news = new Bell();
  /** The visit is due for what it fetches. */
  #isDue = false;
  /** When the next is, however often there is something to tell before. */
  #dueAt = 0;
  /** When the server last said something. */
  #heard: number;
  /** Nothing is read until the sink is ready. */
  #isHeld = false;

  constructor(options: ReadingOptions) {
    this.#options = options;
    this.#received = options.startLsn;
    this.#pace = new Pace(options.clock);
    this.#heard = options.clock.monotonic();
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

  /** Until the end of the timeline, or `stop`: then the server is not waited for for long. */
  async run(): Promise<End> {
    const { clock } = this.#options;
    const done = new AbortController();
    const isLate = () =>
      void clock.sleep(patienceMs, done.signal).then(
        () => this.#late.resolve(undefined),
        () => undefined,
      );
    this.#stop.signal.addEventListener('abort', isLate, { once: true });
    try {
      return await Promise.race([this.#read(), this.#late.promise, this.#silence(done.signal)]);
    } finally {
      done.abort();
    }
  }

  /** A host that is gone closes nothing, and the operating system gives it a quarter of an hour. Throws SERVER_GONE. */
  async #silence(signal: AbortSignal): Promise<never> {
    const { clock } = this.#options;
    for (;;) {
      await clock.sleep(askMs, signal);
      const silentMs = clock.monotonic() - this.#heard;
      if (this.#isHeld || silentMs < askMs) continue;
      if (silentMs > silenceMs)
        throw new HelvinoError(
          'SERVER_GONE',
          `the server has said nothing for ${Math.round(silentMs / 1000)} s`,
          {
            hint: 'check the server, and the network',
          },
        );
      this.#stream?.sendStatus({ ...(this.#positions ?? nothing), replyRequested: true });
    }
  }

  async #read(): Promise<End> {
    const { signal } = this.#stop;
    this.#heard = this.#options.clock.monotonic();
    if (!signal.aborted) this.#mayLeave = await this.#options.mayLeave();
    let upTo: bigint | undefined;
    while (!signal.aborted) {
      const end = await this.#stretch(upTo).catch((thrown: unknown) => this.#refused(thrown));
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
      await this.#rest();
      if (signal.aborted) return undefined;
      const server = await replication.identify();
      this.#heard = clock.monotonic();
      this.#serverEnd = server.xlogpos;
      // The end of a timeline is told only to whoever stays.
      if (server.timeline !== timeline) return undefined;
      // A standby that will follow another timeline answers for what it has replayed: it would refuse.
      if (server.xlogpos < this.#received) {
        await clock.sleep(restMs, signal).catch(() => undefined);
        continue;
      }
      if (!this.#pace.isBusy(server.xlogpos)) return undefined;
      this.#mayLeave &&= await this.#options.mayLeave();
      if (!this.#mayLeave) return undefined;
      if (server.xlogpos > this.#received || this.#positions !== this.#told) return server.xlogpos;
    }
    return undefined;
  }

  /** Until a visit is due, or there is something to tell. */
  async #rest(): Promise<void> {
    const { clock, restMs, visitMs } = this.#options;
    const { signal } = this.#stop;
    const begun = clock.monotonic();
    const until = this.#pace.wasBusy ? this.#dueAt : begun + restMs;
    // What was rung before may have been told by the last visit.
    while (this.#positions === this.#told && clock.monotonic() < until && !signal.aborted)
      await this.#news.wait(clock, until - clock.monotonic(), signal);
    // Much to tell in short order, when segments fill fast, is told together.
    const short = begun + restMs / newsShare - clock.monotonic();
    if (short > 0) await clock.sleep(short, signal).catch(() => undefined);
    this.#isDue = clock.monotonic() >= this.#dueAt;
    if (this.#isDue) this.#dueAt = clock.monotonic() + visitMs;
  }

  /**
   * The server does not go on from where we are. A standby passes on what comes, to the middle of a record; when it is promoted
   * its timeline ends before that. To a stream that lasts it tells the end, a new one it refuses: then its history tells it.
   */
  async #refused(thrown: unknown): Promise<End> {
    if (!(thrown instanceof HelvinoError) || thrown.code !== 'SERVER_ERROR') throw thrown;
    const { replication, timeline, standby } = this.#options;
    const server = await replication.identify();
    if (server.timeline === timeline) {
      if (standby && server.xlogpos < this.#received) return undefined;
      throw thrown;
    }
    const history = parseTimelineHistory(await replication.timelineHistory(server.timeline));
    const at = history.findIndex((step) => step.timeline === timeline);
    const { switchLsn } = history[at] ?? {};
    if (switchLsn === undefined || switchLsn >= this.#received) throw thrown;
    return { nextTimeline: history[at + 1]?.timeline ?? server.timeline, switchLsn };
  }

  /** One stream, up to a position that the server has reached, or until the server turns out to be busy. */
  async #stretch(upTo: bigint | undefined): Promise<End> {
    const { replication, slot, timeline, sink } = this.#options;
    let before = this.#received;
    const stream = await replication.startPhysicalReplication(
      { slot, startLsn: this.#received, timeline },
      {
        wal: (at, bytes) => {
          if (this.#stop.signal.aborted) return;
          sink.wal(at, bytes);
          this.#received = at + BigInt(bytes.length);
        },
        ready: () => {
          const isSmall = this.#received - before < smallRead;
          before = this.#received;
          return this.#hold(sink.ready()) ?? this.#pause(stream, { upTo, isSmall });
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
    stream: Stretch,
    { upTo, isSmall }: { upTo: bigint | undefined; isSmall: boolean },
  ): Promise<void> | undefined {
    const { synchronous, clock, restMs } = this.#options;
    if (upTo !== undefined) {
      if (this.#received >= upTo) this.#leave(stream);
      return undefined;
    }
    if (synchronous || !isSmall || this.#received < stream.serverEnd) return undefined;
    if (this.#mayLeave && this.#pace.isBusy(stream.serverEnd)) {
      this.#leave(stream);
      return undefined;
    }
    return clock.sleep(restMs, this.#stop.signal).catch(() => undefined);
  }

  /** Told after each read, with what the sink waits for. */
  #hold(wait: Promise<void> | undefined): Promise<void> | undefined {
    const { clock } = this.#options;
    this.#heard = clock.monotonic();
    this.#isHeld = wait !== undefined;
    return wait?.finally(() => {
      this.#heard = clock.monotonic();
      this.#isHeld = false;
    });
  }

  /** From now on what is told waits for the next visit. */
  #leave(stream: Stretch): void {
    this.#serverEnd = this.serverEnd;
    this.#stream = undefined;
    void stream.stop().catch(() => undefined);
    if (this.#isDue) this.#options.onVisited?.();
  }

  #tell(): void {
    if (!this.#positions || this.#positions === this.#told) return;
    if (!this.#stream) {
      this.#news.ring();
      return;
    }
    this.#told = this.#positions;
    this.#stream.sendStatus(this.#positions);
  }
}

/** How fast the server writes, judged about once a second; what happens between two judgements is not news. */
class Pace {
  readonly #clock: Clock;
  /** Where the server was at the last judgement. What was there before the first is not its pace, however much it is. */
  #last: { readonly at: number; readonly end: bigint } | undefined;
  #busy = false;
  #fast = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get wasBusy(): boolean {
    return this.#busy;
  }

  isBusy(end: bigint): boolean {
    const now = this.#clock.monotonic();
    this.#last ??= { at: now, end };
    const seconds = (now - this.#last.at) / 1000;
    if (seconds < 1) return this.#busy;
    const rate = Number(end - this.#last.end) / seconds;
    this.#fast = rate > (this.#busy ? calmRate : busyRate) ? this.#fast + 1 : 0;
    this.#busy = this.#fast >= (this.#busy ? 1 : busyFor);
    this.#last = { at: now, end };
    return this.#busy;
  }
}
