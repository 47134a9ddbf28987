/**
 * Makes the index of WAL while it is stored: a thread reads the records, its parts are stored as notes. A whole part makes
 * the short ones before it superfluous, as with WAL itself. The WAL is worth more than its index: when reading fails, the
 * index stops with a warning, and storing goes on (stream-index.ts begins a new one).
 */
import { Worker } from 'node:worker_threads';
import type { Clock } from '../../base/clock.ts';
import type { Progress } from '../../base/progress.ts';
import { endWorker } from '../../base/workers.ts';
import { type CatalogSnapshot, parseLsn, type WalDamage } from '../../postgres/index.ts';
import { putLogNote, type Repository } from '../../repository/index.ts';
import { recordGap } from './gaps.ts';
import type { FromIndexer, IndexerSetup, ToIndexer } from './index-messages.ts';

export interface LogIndexingOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly timeline: number;
  readonly setup: IndexerSetup;
  readonly clock: Clock;
  readonly progress: Progress;
  /** Told which databases have new relations. */
  readonly onChanged: (databases: readonly number[]) => void;
}

type Part = Extract<FromIndexer, { type: 'part' }>;

/** So many short parts give way to a whole one, also when the segment is not full. */
const mostParts = 30;
/** Bytes that may wait for the thread. */
const mostWaiting = 8 << 20;
/** Bytes that go to the thread at a time: what a socket gives is too little for a message. */
const batchSize = 512 << 10;

export class LogIndexing {
  readonly #options: LogIndexingOptions;
  readonly #worker: Worker;
  #waiting = 0;
  #batch = new Uint8Array(new SharedArrayBuffer(batchSize));
  #filled = 0;
  /** Memory that has come back. */
  readonly #free: SharedArrayBuffer[] = [];
  #room: { promise: Promise<void>; resolve: () => void } | undefined;
  #takes: ((part: Part | undefined) => void)[] = [];
  #parts: string[] = [];
  #storedTo = 0n;
  #failed = false;

  constructor(options: LogIndexingOptions) {
    this.#options = options;
    this.#worker = new Worker(new URL('./index-worker.ts', import.meta.url), { workerData: options.setup });
    this.#worker.on('message', (message: FromIndexer) => this.#receive(message));
    this.#worker.on('error', (thrown) =>
      this.#fail(thrown instanceof Error ? thrown.message : String(thrown)),
    );
    this.#worker.on('exit', () => this.#fail(undefined));
  }

  /** Nothing more comes of it. */
  get failed(): boolean {
    return this.#failed;
  }

  /** Takes a copy. */
  push(bytes: Uint8Array): void {
    if (this.#failed) return;
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + batchSize - this.#filled);
      this.#batch.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === batchSize) this.#flush();
    }
  }

  #flush(): void {
    if (this.#filled === 0) return;
    const [memory, length] = [this.#batch.buffer, this.#filled];
    this.#waiting += length;
    this.#send({ type: 'wal', memory, length });
    this.#batch = new Uint8Array(this.#free.pop() ?? new SharedArrayBuffer(batchSize));
    this.#filled = 0;
  }

  /** A promise when so much waits that nothing more should be read. */
  congestion(): Promise<void> | undefined {
    if (this.#failed || this.#waiting < mostWaiting) return undefined;
    if (!this.#room) {
      let resolve = () => {};
      const promise = new Promise<void>((settle) => {
        resolve = settle;
      });
      this.#room = { promise, resolve };
    }
    return this.#room.promise;
  }

  addSnapshot(snapshot: CatalogSnapshot): void {
    if (this.#failed) return;
    this.#flush();
    this.#send({ type: 'snapshot', snapshot });
  }

  /**
   * Stores what was found since the last time. `storedTo`: whole segments are stored up to there; then, what was found since the last
   * whole part, and short parts go away.
   */
  async store({ storedTo }: { storedTo?: bigint }): Promise<void> {
    if (storedTo !== undefined) this.#storedTo = storedTo;
    const whole = storedTo !== undefined || this.#parts.length >= mostParts;
    const part = await this.#take(whole);
    if (!part) return;
    const { repository, database, timeline, onChanged } = this.#options;
    for (const damage of part.damaged) await this.#tell(damage);
    if (part.changed.length > 0) onChanged(part.changed);
    if (part.end === part.begin && !part.goesOn) return;
    const { begin, end } = part;
    const name = await putLogNote(repository, {
      database,
      kind: 'index',
      line: timeline,
      begin,
      end,
      bytes: part.encoded,
    });
    // What says how a record goes on stays until the record has ended: any of its segments may come once more.
    const old = whole && !part.goesOn ? this.#parts.splice(0) : [];
    if (!whole || part.goesOn) this.#parts.push(name);
    // A credential without the right to delete leaves them: they do no harm.
    for (const one of old) if (one !== name) await repository.driver.remove(one).catch(() => undefined);
  }

  /** Recorded as a gap: recovery would end there, although WAL behind it is stored. */
  async #tell({ message, lost }: WalDamage): Promise<void> {
    const { repository, database, timeline, clock, progress } = this.#options;
    if (!lost) {
      progress.note('warn', `${message}: \`helvino find\` does not know what is in this segment`);
      return;
    }
    const [from, to] = [parseLsn(lost.from), parseLsn(lost.to)];
    const time = clock.now().toISOString();
    await recordGap(repository, database, {
      reason: 'damaged',
      timeline,
      from,
      toTimeline: timeline,
      to,
      time,
    });
    progress.note('warn', `${message}; recovery can go up to ${lost.from}: take a backup now`);
  }

  async close(): Promise<void> {
    this.#fail(undefined);
    await endWorker(this.#worker);
  }

  #take(whole: boolean): Promise<Part | undefined> {
    if (this.#failed) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      this.#takes.push(resolve);
      this.#flush();
      this.#send({ type: 'take', whole, storedTo: this.#storedTo });
    });
  }

  #send(message: ToIndexer): void {
    this.#worker.postMessage(message);
  }

  #receive(message: FromIndexer): void {
    if (message.type === 'read') {
      this.#waiting -= message.length;
      this.#free.push(message.memory);
      if (this.#waiting < mostWaiting / 2) this.#makeRoom();
    } else if (message.type === 'part') this.#takes.shift()?.(message);
    else this.#fail(message.message);
  }

  #makeRoom(): void {
    this.#room?.resolve();
    this.#room = undefined;
  }

  #fail(message: string | undefined): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#makeRoom();
    for (const settle of this.#takes.splice(0)) settle(undefined);
    if (message !== undefined)
      this.#options.progress.note('warn', `the index of WAL stops (${message}); WAL itself is still stored`);
  }
}
