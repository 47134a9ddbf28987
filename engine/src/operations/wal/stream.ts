/**
 * `helvino wal stream`: receives WAL on a physical slot and stores it, following timelines, reconnecting when the
 * connection breaks. Confirmed to the server is only what is durable in the repository.
 */
import type { Clock } from '../../base/clock.ts';
import { HelvinoError, interrupted } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import {
  type ConnectionParams,
  connectSql,
  formatLsn,
  openReplication,
  parseTimelineHistory,
  type ReplicationConnection,
  timelineHistoryName,
  walSegmentBegin,
} from '../../postgres/index.ts';
import { listLog, putLogFile, type Repository } from '../../repository/index.ts';
import { newestReadable } from '../backup/choose-parent.ts';
import { readSource, type SourceFacts } from '../backup/source.ts';
import { continuation } from './continuation.ts';
import { RotatingDataKey } from './data-key.ts';
import { SegmentShipper } from './segment-shipper.ts';
import { StreamIndex } from './stream-index.ts';

export interface StreamOptions {
  readonly repository: Repository;
  readonly recipients: readonly string[];
  readonly database: string;
  readonly connection: ConnectionParams;
  /** Name of the physical slot; made if it is not there. */
  readonly slot: string;
  /** How often the open segment is stored, in milliseconds. */
  readonly intervalMs: number;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  /** Told after each store; for metrics and tests. */
  readonly onStored?: (state: { timeline: number; durable: bigint; serverEnd: bigint }) => void;
}

const longestPauseMs = 30_000;

/** Runs until the signal; then what has come is stored and the stream ended in order. Throws what trying again cannot mend. */
export async function streamWal(options: StreamOptions): Promise<void> {
  const { signal, clock, progress } = options;
  let pauseMs = 0;
  while (!signal.aborted) {
    const begun = clock.monotonic();
    try {
      await new StreamRun(options).run();
    } catch (thrown) {
      if (signal.aborted) return;
      if (!(thrown instanceof HelvinoError) || !thrown.retry) throw thrown;
      pauseMs =
        clock.monotonic() - begun > 60_000 ? 1000 : Math.min(longestPauseMs, Math.max(1000, pauseMs * 2));
      progress.note('warn', `${thrown.message}; trying again in ${Math.round(pauseMs / 1000)} s`);
      await clock.sleep(pauseMs, signal).catch(() => undefined);
    }
  }
}

class StreamRun {
  readonly #options: StreamOptions;
  readonly #key: RotatingDataKey;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#key = new RotatingDataKey(options);
  }

  async run(): Promise<void> {
    const { connection, signal, progress } = this.#options;
    const source = await this.#readSource();
    await using cleanup = new AsyncDisposableStack();
    const replication = await openReplication(connection, { signal });
    cleanup.defer(() => replication.close().catch(() => undefined));
    const restart = await this.#slot(replication);
    const first = await this.#startingPoint(replication, source, restart);
    const index = new StreamIndex(this.#options, source, first.timeline);
    cleanup.defer(() => index.close());
    let place: { timeline: number; start: bigint; restart?: bigint | undefined } = { ...first, restart };
    while (!signal.aborted) {
      progress.phase(
        `streaming WAL of timeline ${place.timeline} from ${formatLsn(place.start)}`,
        undefined,
        'bytes',
      );
      const start = await index.begin({ restart: undefined, ...place });
      const next = await this.#timeline(replication, { ...place, start, source, index });
      if (next === undefined) return;
      await this.#storeHistory(replication, next.timeline);
      place = { timeline: next.timeline, start: walSegmentBegin(next.switchLsn, source.walSegmentSize) };
    }
  }

  async #readSource(): Promise<SourceFacts> {
    const { connection, signal, repository, database } = this.#options;
    const sql = await connectSql(connection, { signal });
    try {
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
      return source;
    } finally {
      await sql.end();
    }
  }

  /** Restart position of the slot, which is made if need be. */
  async #slot(replication: ReplicationConnection): Promise<bigint | undefined> {
    const { slot } = this.#options;
    const facts = await this.#slotFacts();
    if (facts === undefined) {
      await replication.createSlot(slot);
      this.#options.progress.note(
        'info',
        `made the replication slot ${slot}: the server keeps WAL for us from now on`,
      );
      return undefined;
    }
    if (facts.status === 'lost') {
      throw new HelvinoError(
        'SERVER_SETTING',
        `the replication slot ${slot} has lost WAL (max_slot_wal_keep_size): there is a gap`,
        {
          hint: `drop it (SELECT pg_drop_replication_slot('${slot}')), start again, and take a backup to close the gap`,
        },
      );
    }
    return facts.restart;
  }

  async #slotFacts(): Promise<{ status: string | null; restart: bigint | undefined } | undefined> {
    const sql = await connectSql(this.#options.connection, { signal: this.#options.signal });
    try {
      const { rows } = await sql.query<{ status: string | null; restart: string | null }>(
        `select wal_status as status, (restart_lsn - '0/0'::pg_lsn)::text as restart from pg_replication_slots where slot_name = $1`,
        [this.#options.slot],
      );
      const [row] = rows;
      return row && { status: row.status, restart: row.restart === null ? undefined : BigInt(row.restart) };
    } finally {
      await sql.end();
    }
  }

  /** Where we stopped, if the server still has it; else where the slot begins, which leaves a gap. */
  async #startingPoint(
    replication: ReplicationConnection,
    source: SourceFacts,
    restart: bigint | undefined,
  ): Promise<{ timeline: number; start: bigint }> {
    const { timeline, xlogpos } = await replication.identify();
    await this.#storeHistory(replication, timeline);
    const last = await lastStored(this.#options);
    const history = timeline === 1 ? [] : parseTimelineHistory(await replication.timelineHistory(timeline));
    const place = continuation({ timeline, history, last, restart: restart ?? xlogpos });
    if (place.gap) {
      this.#options.progress.note(
        'warn',
        `WAL from ${formatLsn(place.gap.from)} to ${formatLsn(place.gap.to)} is missing: a new backup closes the gap`,
      );
    }
    return { timeline: place.timeline, start: walSegmentBegin(place.start, source.walSegmentSize) };
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
    place: { timeline: number; start: bigint; source: SourceFacts; index: StreamIndex },
  ): Promise<{ timeline: number; switchLsn: bigint } | undefined> {
    const { repository, database, signal, slot, intervalMs, onStored, progress } = this.#options;
    const { index } = place;
    let report: (() => void) | undefined;
    const shipper = new SegmentShipper({
      repository,
      database,
      timeline: place.timeline,
      segmentSize: place.source.walSegmentSize,
      start: place.start,
      dataKey: () => this.#key.current(),
      onSegment: () => index.storeWhole(),
      onDurable: () => report?.(),
    });
    const stream = await replication.startPhysicalReplication(
      { slot, startLsn: place.start, timeline: place.timeline },
      {
        wal: (_at, bytes) => {
          shipper.write(bytes);
          index.push(bytes);
          progress.advance(bytes.length);
        },
        ready: () => shipper.congestion() ?? index.congestion(),
      },
    );
    report = () => {
      stream.sendStatus({ written: shipper.received, flushed: shipper.durable, applied: shipper.durable });
      onStored?.({ timeline: place.timeline, durable: shipper.durable, serverEnd: stream.serverEnd });
    };
    const ended = new AbortController();
    const shipping = this.#shipEvery(shipper, {
      index,
      intervalMs,
      signal: AbortSignal.any([signal, ended.signal]),
    });
    const stop = () => void stream.stop().catch(() => undefined);
    signal.addEventListener('abort', stop, { once: true });
    try {
      void shipping.catch(stop);
      const end = await stream.done;
      await shipper.ship();
      await index.storePart(true);
      if (signal.aborted) return undefined;
      const next = end.endOfTimeline;
      return next && { timeline: next.nextTimeline, switchLsn: next.switchLsn };
    } finally {
      signal.removeEventListener('abort', stop);
      ended.abort(interrupted(signal));
      await shipping.catch(() => undefined);
    }
  }

  /** Rejects when the store fails: then the stream must end, and nothing more is confirmed. */
  async #shipEvery(
    shipper: SegmentShipper,
    { index, intervalMs, signal }: { index: StreamIndex; intervalMs: number; signal: AbortSignal },
  ): Promise<void> {
    while (!signal.aborted) {
      await this.#options.clock.sleep(intervalMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      await shipper.ship();
      await index.storePart();
    }
  }
}

async function lastStored({
  repository,
  database,
}: StreamOptions): Promise<{ timeline: number; end: bigint } | undefined> {
  let last: { timeline: number; end: bigint } | undefined;
  for await (const piece of listLog(repository.driver, database)) {
    if (!last || piece.line > last.timeline || piece.end > last.end)
      last = { timeline: piece.line, end: piece.end };
  }
  return last;
}
