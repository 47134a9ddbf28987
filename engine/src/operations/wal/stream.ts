/**
 * `helvino wal stream`: receives WAL on a physical slot and stores it, following timelines, reconnecting when the
 * connection breaks. Confirmed to the server is only what is durable in the repository.
 */
import type { Clock } from '../../base/clock.ts';
import { HelvinoError, interrupted } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import type { GapReason, RecordedGap } from '../../catalog/index.ts';
import {
  type ConnectionParams,
  formatLsn,
  openReplication,
  parseTimelineHistory,
  type ReplicationConnection,
  timelineHistoryName,
  walSegmentBegin,
  withSql,
} from '../../postgres/index.ts';
import {
  type LogPiece,
  LogPieces,
  LogSealer,
  listLog,
  putLogFile,
  type Repository,
} from '../../repository/index.ts';
import { newestReadable } from '../backup/choose-parent.ts';
import { readSource, type SourceFacts } from '../backup/source.ts';
import { Bell } from './bell.ts';
import { continuation, reliableEnd } from './continuation.ts';
import { RotatingDataKey } from './data-key.ts';
import { recordedGaps, tellMissing } from './gaps.ts';
import { claimLog } from './known-cluster.ts';
import { SegmentShipper } from './segment-shipper.ts';
import {
  claimSlot,
  isSlotInUse,
  type ReadySlot,
  readySlot,
  slotLoss,
  streamConnection,
  watchedConnection,
} from './slot.ts';
import { SlotWatch, type WatchLimits } from './slot-watch.ts';
import { isSynchronous } from './standby-names.ts';
import { StreamIndex } from './stream-index.ts';
import { WalReading } from './wal-reading.ts';

export interface StreamOptions {
  readonly repository: Repository;
  readonly recipients: readonly string[];
  readonly database: string;
  readonly connection: ConnectionParams;
  /** Name of the physical slot; made if it is not there. */
  readonly slot: string;
  /** How often the open segment is stored, in milliseconds. */
  readonly intervalMs: number;
  /** Store each commit as soon as it comes, for a server that waits for us (synchronous_standby_names). */
  readonly synchronous?: boolean;
  /** Looks after the slot and the lag, and warns. */
  readonly watch?: WatchLimits;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  /** Told after each store; for metrics and tests. */
  readonly onStored?: (state: { timeline: number; durable: bigint; serverEnd: bigint }) => void;
}

const longestPauseMs = 30_000;
const longestRestMs = 200;
/** Of the interval: what comes right after a visit is stored after the next, and to fetch and to store takes the rest. */
const visitShare = 0.8;
/** A server that has become calm is to be listened to soon, also when little is asked for. */
const longestVisitMs = 2000;
/** A yes to the question whether the stream may end between two reads holds so long: each asking wakes the server twice. */
const leaveHoldsMs = 4000;

/** Runs until the signal; then what has come is stored and the stream ended in order. Throws what trying again cannot mend. */
export async function streamWal(given: StreamOptions): Promise<void> {
  const options = { ...given, connection: streamConnection(given.connection, given.slot) };
  const { signal, clock, progress } = options;
  let run: StreamRun | undefined;
  const onLost = () => run?.slotLost();
  await using watch = options.watch && new SlotWatch({ ...options, onLost }, options.watch);
  let pauseMs = 0;
  let hasStored = false;
  while (!signal.aborted) {
    const begun = clock.monotonic();
    try {
      run = new StreamRun({
        ...options,
        onStored: (state) => {
          hasStored = true;
          watch?.stored(state.timeline, state.durable);
          options.onStored?.(state);
        },
      });
      await run.run();
    } catch (thrown) {
      if (signal.aborted) return;
      if (!(thrown instanceof HelvinoError)) throw thrown;
      // After a broken connection the server may believe in it for a while, and so keep the slot from us. And what has been
      // understood so far is no server of another kind: something on the way has garbled it.
      const mayPass = hasStored && (isSlotInUse(thrown) || thrown.code === 'PROTOCOL');
      if (!thrown.retry && !mayPass) throw thrown;
      pauseMs =
        clock.monotonic() - begun > 60_000 ? 1000 : Math.min(longestPauseMs, Math.max(1000, pauseMs * 2));
      progress.note('warn', `${thrown.message}; trying again in ${Math.round(pauseMs / 1000)} s`);
      await clock.sleep(pauseMs, signal).catch(() => undefined);
    }
  }
}

interface StartingPoint {
  readonly timeline: number;
  /** A segment's begin. */
  readonly start: bigint;
  /** From where the slot keeps WAL; undefined: not known, or later than the start. */
  readonly restart: bigint | undefined;
  /** Where to go on if the server no longer has the WAL at `start`, and what is then missing. */
  readonly instead?: StartingPoint & { readonly gap: Omit<RecordedGap, 'time'> };
}

interface TimelineWork {
  readonly timeline: number;
  readonly start: bigint;
  readonly source: SourceFacts;
  readonly index: StreamIndex;
  readonly sealer: LogSealer;
  readonly mayLeave: () => Promise<boolean>;
}

/** undefined_file: "requested WAL segment … has already been removed". */
function isRemoved(thrown: unknown): boolean {
  return thrown instanceof HelvinoError && thrown.context.sqlstate === '58P01';
}

class StreamRun {
  readonly #options: StreamOptions;
  readonly #key: RotatingDataKey;
  #reading: WalReading | undefined;
  #isLost = false;
  #hasWarned = false;
  #mayLeaveUntil = 0;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#key = new RotatingDataKey(options);
  }

  /** The server says that the slot keeps nothing any more: before 18 it still lets a stream begin. */
  slotLost(): void {
    if (!this.#reading) return;
    this.#isLost = true;
    this.#reading.stop();
  }

  async run(): Promise<void> {
    const { connection, signal, progress } = this.#options;
    const source = await this.#readSource();
    await using cleanup = new AsyncDisposableStack();
    const replication = await openReplication(watchedConnection(connection), { signal });
    cleanup.defer(() => replication.close().catch(() => undefined));
    // While it starts there is nothing that should still be stored, and a server that does not answer is not waited for.
    const stop = () => (this.#reading ? this.#reading.stop() : void replication.close());
    signal.addEventListener('abort', stop, { once: true });
    cleanup.defer(() => signal.removeEventListener('abort', stop));
    const slot = await this.#slot(replication);
    const isClaimed = await claimSlot(replication, this.#options.slot);
    const mayLeave = async () => isClaimed && (await this.#mayLeaveNow(replication));
    let place = await this.#startingPoint(replication, source, slot);
    const index = new StreamIndex(this.#options, source);
    cleanup.defer(() => index.close());
    const sealer = new LogSealer({ workers: 2 });
    cleanup.defer(() => sealer.close());
    while (!signal.aborted) {
      progress.phase(
        `streaming WAL of timeline ${place.timeline} from ${formatLsn(place.start)}`,
        undefined,
        'bytes',
      );
      const start = await index.begin(place);
      try {
        const next = await this.#timeline(replication, { ...place, start, source, index, sealer, mayLeave });
        if (next === undefined) return;
        await this.#storeHistory(replication, next.timeline);
        const begin = walSegmentBegin(next.switchLsn, source.walSegmentSize);
        place = { timeline: next.timeline, start: begin, restart: undefined };
      } catch (thrown) {
        const instead = await this.#gapInstead(thrown, place);
        if (!instead) throw thrown;
        place = instead;
      }
    }
  }

  async #mayLeaveNow(replication: ReplicationConnection): Promise<boolean> {
    const now = this.#options.clock.monotonic();
    if (now < this.#mayLeaveUntil) return true;
    const may = await this.#mayLeave(replication);
    if (may) this.#mayLeaveUntil = now + leaveHoldsMs;
    return may;
  }

  /** Whether the stream may end between two reads: not if commits wait for it, or if the server logs each beginning. */
  async #mayLeave(replication: ReplicationConnection): Promise<boolean> {
    const { synchronous, connection, progress } = this.#options;
    if (synchronous) return false;
    const name = connection.applicationName;
    if (!isSynchronous(await replication.show('synchronous_standby_names'), name))
      return (await replication.show('log_replication_commands')) === 'off';
    if (!this.#hasWarned)
      progress.note(
        'warn',
        `synchronous_standby_names has ${name}: commits may wait until it has stored them, up to wal.every each; run it with --synchronous`,
      );
    this.#hasWarned = true;
    return false;
  }

  async #readSource(): Promise<SourceFacts> {
    const { connection, signal, repository, database } = this.#options;
    return withSql(connection, { signal }, async (sql) => {
      const source = await readSource(sql);
      const known = await newestReadable(repository, database);
      if (known && known.facts.systemId !== source.systemId) {
        throw new HelvinoError(
          'SERVER_WRONG_CLUSTER',
          `the server's system identifier is ${source.systemId}; the backups of ${database} are of ${known.facts.systemId}`,
          {
            hint: 'check the connection; WAL of another cluster is never mixed in',
          },
        );
      }
      await claimLog(repository, database, source.systemId);
      return source;
    });
  }

  async #slot(replication: ReplicationConnection): Promise<ReadySlot> {
    const { slot, progress } = this.#options;
    const ready = await readySlot(replication, this.#options);
    if (ready.was === 'made')
      progress.note('info', `made the replication slot ${slot}: the server keeps WAL for us from now on`);
    if (ready.was === 'remade')
      progress.note(
        'warn',
        `the replication slot ${slot} had lost WAL (max_slot_wal_keep_size): it was made anew; what the server still has is fetched`,
      );
    return ready;
  }

  /**
   * Where we stopped. If the slot does not keep the WAL from there on, the server may have it all the same: `instead` is
   * where to go on if not, which leaves a gap.
   */
  async #startingPoint(
    replication: ReplicationConnection,
    source: SourceFacts,
    slot: ReadySlot,
  ): Promise<StartingPoint> {
    const { timeline, xlogpos } = await replication.identify();
    await this.#storeHistory(replication, timeline);
    const last = await lastStored(this.#options, source.walSegmentSize);
    const history = timeline === 1 ? [] : parseTimelineHistory(await replication.timelineHistory(timeline));
    const place = continuation({ timeline, history, last, restart: slot.restart ?? xlogpos });
    const begin = (lsn: bigint) => walSegmentBegin(lsn, source.walSegmentSize);
    const own = { timeline: place.timeline, start: begin(place.start), restart: slot.restart };
    if (!place.gap) return own;
    const reason = (
      { remade: 'slot-lost', made: 'slot-missing', kept: 'wal-removed' } as const satisfies Record<
        ReadySlot['was'],
        GapReason
      >
    )[slot.was];
    const gap = { ...place.gap, reason, toTimeline: own.timeline, to: own.start };
    return {
      timeline: gap.timeline,
      start: begin(gap.from),
      restart: undefined,
      // Within one segment nothing is missing: it is sent from its begin.
      instead: gap.timeline === own.timeline && begin(gap.from) === own.start ? undefined : { ...own, gap },
    };
  }

  /** True when the server has removed the WAL that was asked for, and there is another place to go on from. */
  async #gapInstead(thrown: unknown, { instead }: StartingPoint): Promise<StartingPoint | undefined> {
    if (!instead || !isRemoved(thrown)) return undefined;
    await tellMissing(this.#options, instead.gap);
    return instead;
  }

  async #storeHistory(replication: ReplicationConnection, timeline: number): Promise<void> {
    if (timeline === 1) return;
    const { repository, database } = this.#options;
    await putLogFile(repository, {
      database,
      kind: 'history',
      name: timelineHistoryName(timeline),
      bytes: await replication.timelineHistory(timeline),
    });
  }

  /** Streams one timeline to its end. Undefined when it was ended by the signal. */
  async #timeline(
    replication: ReplicationConnection,
    place: TimelineWork,
  ): Promise<{ timeline: number; switchLsn: bigint } | undefined> {
    const { signal, slot, intervalMs, onStored, progress, clock, synchronous = false } = this.#options;
    const { index, timeline } = place;
    let report: (() => void) | undefined;
    const shipper = await this.#shipper(place, () => report?.());
    const visited = new Bell();
    const visitMs = visitShare * intervalMs;
    const reading = new WalReading({
      replication,
      slot,
      timeline,
      startLsn: place.start,
      sink: {
        wal: (_at, bytes) => {
          shipper.write(bytes);
          index.push(bytes);
          progress.advance(bytes.length);
        },
        ready: () => shipper.congestion() ?? index.congestion(),
      },
      synchronous,
      mayLeave: place.mayLeave,
      standby: place.source.inRecovery,
      restMs: Math.min(longestRestMs, intervalMs / 5),
      visitMs: Math.min(visitMs, longestVisitMs),
      onVisited: () => {
        if (visitMs <= longestVisitMs) visited.ring();
      },
      clock,
    });
    report = () => {
      reading.sendStatus({ written: shipper.received, flushed: shipper.durable, applied: shipper.durable });
      onStored?.({ timeline, durable: shipper.durable, serverEnd: reading.serverEnd });
    };
    const ended = new AbortController();
    const shipping = this.#shipEvery(shipper, {
      index,
      intervalMs,
      visited,
      signal: AbortSignal.any([signal, ended.signal]),
    });
    this.#reading = reading;
    if (signal.aborted) reading.stop();
    try {
      void shipping.catch(() => reading.stop());
      const next = await reading.run();
      await shipper.ship();
      await index.storePart(true);
      if (signal.aborted) return undefined;
      if (this.#isLost) throw new HelvinoError('SLOT_LOST', `the replication slot ${slot} has lost WAL`);
      return next && { timeline: next.nextTimeline, switchLsn: next.switchLsn };
    } catch (thrown) {
      // What has come may be all that is left of it: a server that is promoted now goes on with another timeline.
      await shipper
        .ship()
        .then(() => index.storePart(true))
        .catch(() => undefined);
      throw slotLoss(thrown, slot);
    } finally {
      this.#reading = undefined;
      ended.abort(interrupted(signal));
      await shipping.catch(() => undefined);
    }
  }

  async #shipper(place: TimelineWork, onDurable: () => void): Promise<SegmentShipper> {
    const { repository, database } = this.#options;
    return new SegmentShipper({
      repository,
      database,
      timeline: place.timeline,
      segmentSize: place.source.walSegmentSize,
      start: place.start,
      leftovers: await partsFrom(this.#options, place),
      sealer: place.sealer,
      dataKey: () => this.#key.current(),
      onSegment: (end) => place.index.storeWhole(end),
      onDurable,
    });
  }

  /** Rejects when the store fails: then the stream must end, and nothing more is confirmed. */
  async #shipEvery(
    shipper: SegmentShipper,
    {
      index,
      intervalMs,
      visited,
      signal,
    }: { index: StreamIndex; intervalMs: number; visited: Bell; signal: AbortSignal },
  ): Promise<void> {
    const { synchronous = false, clock } = this.#options;
    let before: bigint | undefined;
    while (!signal.aborted) {
      // A commit waits for us: store as soon as there is something; what comes meanwhile goes with the next part.
      if (synchronous && shipper.durable !== before) await shipper.arrival(signal);
      else await visited.wait(clock, intervalMs, signal);
      if (signal.aborted) return;
      before = shipper.durable;
      await shipper.ship();
      await index.storePart();
    }
  }
}

/** Pieces that are less than a segment, of a timeline, from a position on. */
async function partsFrom(
  { repository, database }: StreamOptions,
  { timeline, start, source }: { timeline: number; start: bigint; source: SourceFacts },
): Promise<LogPiece[]> {
  const parts: LogPiece[] = [];
  for await (const piece of listLog(repository.driver, database)) {
    const short = piece.end - piece.begin < BigInt(source.walSegmentSize);
    if (piece.line === timeline && piece.begin >= start && short) parts.push(piece);
  }
  return parts;
}

/** Of the newest timeline. */
async function lastStored(
  { repository, database }: StreamOptions,
  segmentSize: number,
): Promise<{ timeline: number; end: bigint } | undefined> {
  const pieces = await LogPieces.read(repository.driver, database);
  const timeline = pieces.lines.at(-1);
  if (timeline === undefined) return undefined;
  const gaps = await recordedGaps(repository, database);
  const own = pieces.select((piece) => piece.line === timeline);
  return { timeline, end: reliableEnd(own, { segmentSize, gaps }) };
}
