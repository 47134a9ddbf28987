/** The index that a stream makes beside the WAL that it stores: where it goes on, what names it uses, when it is stored. */
import type { Clock } from '../../base/clock.ts';
import type { Progress } from '../../base/progress.ts';
import {
  type CatalogSnapshot,
  type ConnectionParams,
  type IndexState,
  walSegmentBegin,
} from '../../postgres/index.ts';
import { logFiles, type Repository } from '../../repository/index.ts';
import type { SourceFacts } from '../backup/source.ts';
import { readCatalogNames } from './catalog-names.ts';
import { CatalogWatch } from './catalog-watch.ts';
import type { IndexerSetup } from './index-messages.ts';
import { indexPlace } from './index-place.ts';
import { LogIndexing } from './log-indexing.ts';
import { pathOf } from './path-of.ts';

export interface StreamIndexOptions {
  readonly repository: Repository;
  readonly database: string;
  /** Undefined: the server cannot be asked for names. */
  readonly connection: ConnectionParams | undefined;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Parts of the open segment's index are stored so often. */
const everyMs = 10_000;
/** After a failure a new index is begun, no more often: what failed may fail again. */
const againMs = 60_000;

export type IndexSource = Pick<SourceFacts, 'databases' | 'walSegmentSize'>;

/** For one connection; one timeline at a time. */
export class StreamIndex {
  readonly #options: StreamIndexOptions;
  readonly #source: IndexSource;
  readonly #watch: CatalogWatch | undefined;
  #indexing: LogIndexing | undefined;
  #lastStored: number;
  #timeline = 0;
  /** Up to where WAL was pushed. */
  #position = 0n;
  #begun = 0;
  /** For the index that is to follow one that failed. */
  #next: { readonly names: CatalogSnapshot[]; isReady: boolean } | undefined;

  constructor(options: StreamIndexOptions, source: IndexSource) {
    const { connection } = options;
    this.#options = options;
    this.#source = source;
    this.#watch = connection && new CatalogWatch({ ...options, connection });
    if (this.#watch) this.#watch.onSnapshot = (snapshot) => this.#addSnapshot(snapshot);
    this.#lastStored = options.clock.monotonic();
  }

  /**
   * Begins with a timeline. `start`: a segment's begin, from where WAL is to be stored; `restart`: from where the server
   * still has it. Gives the position to stream from: earlier than `start` when the index was left behind by a crash.
   */
  async begin(place: { timeline: number; start: bigint; restart: bigint | undefined }): Promise<bigint> {
    await this.#closeIndexing();
    const { repository, database } = this.#options;
    const { timeline } = place;
    if (this.#watch) {
      this.#watch.timeline = timeline;
      await this.#watch.takeAll(this.#source.databases);
    }
    const segmentSize = this.#source.walSegmentSize;
    const setup = await this.#setup(place);
    const from = setup.state ? BigInt(setup.state.lastEnd) : setup.start;
    const snapshots = await readCatalogNames(repository, database, { timeline, from });
    this.#timeline = timeline;
    this.#start({ ...setup, segmentSize, snapshots });
    return setup.start;
  }

  #start(setup: IndexerSetup): void {
    const { repository, database, clock, progress } = this.#options;
    this.#position = setup.start;
    this.#begun = clock.monotonic();
    this.#next = undefined;
    this.#indexing = new LogIndexing({
      repository,
      database,
      timeline: this.#timeline,
      clock,
      progress,
      setup,
      onChanged: (databases) => this.#watch?.changed(databases),
    });
  }

  #addSnapshot(snapshot: CatalogSnapshot): void {
    this.#next?.names.push(snapshot);
    this.#indexing?.addSnapshot(snapshot);
  }

  async #setup({
    timeline,
    start,
    restart,
  }: {
    timeline: number;
    start: bigint;
    restart: bigint | undefined;
  }): Promise<Pick<IndexerSetup, 'start' | 'state' | 'forkedAt'> & { start: bigint }> {
    const { repository, database } = this.#options;
    const segmentSize = this.#source.walSegmentSize;
    const own = await indexPlace(repository, database, { timeline });
    if (own.state) {
      const begin = walSegmentBegin(BigInt(own.state.lastEnd), segmentSize);
      if (begin >= start) return { start, state: own.state };
      if (restart !== undefined && begin >= walSegmentBegin(restart, segmentSize))
        return { start: begin, state: own.state };
      // Where only the record that goes on at the start is not whole, its rest is checked all the same.
      const isOfStart = (state: IndexState | undefined) => state?.spanning?.at === String(start);
      if (isOfStart(own.state)) return { start, state: own.state };
      // The segment comes once more.
      const before = await indexPlace(repository, database, { timeline, limit: start });
      return isOfStart(before.state) ? { start, state: before.state! } : { start };
    }
    const parent = pathOf(timeline, await logFiles(repository, database)).at(-2);
    if (parent?.until === undefined) return { start };
    const fork = { timeline: parent.timeline, limit: parent.until };
    const { state } = await indexPlace(repository, database, fork);
    if (state && BigInt(state.lastEnd) >= start) return { start, state };
    return parent.until >= start ? { start, forkedAt: parent.until } : { start };
  }

  push(bytes: Uint8Array): void {
    const from = this.#position;
    this.#position += BigInt(bytes.length);
    if (this.#indexing?.failed) this.#pushAnew(this.#indexing, { bytes, from });
    else this.#indexing?.push(bytes);
  }

  /** A new index begins with a segment. Of the WAL between, `find` says that it has none. */
  #pushAnew(failed: LogIndexing, { bytes, from }: { bytes: Uint8Array; from: bigint }): void {
    if (this.#options.clock.monotonic() - this.#begun < againMs) return;
    const segmentSize = this.#source.walSegmentSize;
    const start = walSegmentBegin(this.#position, segmentSize);
    if (this.#next === undefined) this.#readNames();
    else if (this.#next.isReady && start >= from) {
      void failed.close();
      this.#start({ start, segmentSize, snapshots: this.#next.names });
      this.push(bytes.subarray(Number(start - from)));
    }
  }

  /** Beside the stream, which does not wait for it. */
  #readNames(): void {
    const { repository, database, clock } = this.#options;
    const next = { names: [] as CatalogSnapshot[], isReady: false };
    this.#next = next;
    const place = { timeline: this.#timeline, from: this.#position };
    readCatalogNames(repository, database, place).then(
      (names) => {
        next.names.unshift(...names);
        next.isReady = true;
      },
      () => {
        if (this.#next === next) this.#next = undefined;
        this.#begun = clock.monotonic();
      },
    );
  }

  congestion(): Promise<void> | undefined {
    return this.#indexing?.congestion();
  }

  /** A segment is stored, and all before it: its index is stored before the server may forget it. */
  async storeWhole(end: bigint): Promise<void> {
    await this.#indexing?.store({ storedTo: end });
    this.#lastStored = this.#options.clock.monotonic();
  }

  /** A part of the open segment is stored. */
  async storePart(now = false): Promise<void> {
    const time = this.#options.clock.monotonic();
    if (!now && time - this.#lastStored < everyMs) return;
    this.#lastStored = time;
    await this.#indexing?.store({});
  }

  async #closeIndexing(): Promise<void> {
    await this.#indexing?.close();
    this.#indexing = undefined;
  }

  async close(): Promise<void> {
    await this.#watch?.close();
    await this.#closeIndexing();
  }
}
