/**
 * The encoder pool: the main thread lays plain bytes into slots, workers turn them into chunks of packs, full packs go to
 * the store. Memory is fixed: `slots` slots of 1 MiB, and two pack buffers more than workers, six more for a distant store.
 *
 * Workers start with the pool, before there are keys: that takes a tenth of a second, in which a run connects. Its key may come
 * later still: making one takes as long, in which the server makes its checkpoint.
 * Then a caller takes a slot, fills it, submits it with its segments, and is told the outcome by a callback. Before it reads
 * more input it asks `congestion()`; when that is a promise it waits.
 */
import { Worker } from 'node:worker_threads';
import { alignedMemory, wasmMemoryOf } from '../base/aligned-memory.ts';
import { HelvinoError } from '../base/errors.ts';
import { randomHex } from '../base/ids.ts';
import { endWorker } from '../base/workers.ts';
import type { StorageDriver } from '../storage/index.ts';
import type { FromEncoder, JobSegment, ToEncoder } from './encoder-messages.ts';
import type { ChunkRef } from './extents.ts';
import { contentKeyOf } from './keys.ts';
import { packName } from './layout.ts';
import { maxChunk, packCapacity } from './pack-builder.ts';
import { readBack } from './read-back.ts';

/** Workers hold little on the heap: a small space for young objects is emptied before it grows by megabytes. */
const workerLimits = { maxYoungGenerationSizeMb: 4 };

/** How many slots a caller may take after `congestion()` has said that there is room. */
const reserve = 6;
/** Slots that one worker gets in turn, where there are enough for all. */
const longestTurn = 4;

export interface Slot {
  readonly index: number;
  /** 1 MiB of shared memory. */
  readonly bytes: Uint8Array;
}

export interface EncodedSegment {
  readonly kind: 'new' | 'same' | 'zero';
  readonly hash?: Uint8Array;
  /** For `new`. */
  readonly chunk?: ChunkRef;
  readonly start: number;
}

export interface StoredPack {
  readonly id: string;
  readonly keyId: string;
  readonly size: number;
}

export interface DataKeys {
  readonly dataKey: Uint8Array;
  readonly dataKeyId: string;
  readonly catalogKey: Uint8Array;
  readonly catalogKeyId: string;
}

export interface EncoderOptions {
  readonly driver: StorageDriver;
  /** zstd level. */
  readonly level: number;
  readonly workers: number;
  /** Slots of 1 MiB. */
  readonly slots?: number;
  /** Lets workers fetch segments themselves (encoder-messages.ts). */
  readonly fetch?: {
    /** Address of a module that exports `fetcher`. */
    readonly module: string;
    /** What fetching had to tell; what it throws fails the pool. */
    report(what: unknown): void;
  };
}

type Done = (segments: EncodedSegment[]) => void;

export class EncoderPool {
  readonly stored: StoredPack[] = [];
  readonly #options: EncoderOptions;
  #dataKeyId: string | undefined;
  #slots: SharedArrayBuffer;
  #packs: SharedArrayBuffer;
  readonly #freeSlots: number[] = [];
  readonly #freeBuffers: number[] = [];
  readonly #workers: { worker: Worker; queued: number; wantsBuffer: boolean; flushed?: () => void }[] = [];
  readonly #pending = new Map<number, { done: Done; worker: number }>();
  readonly #puts = new Set<Promise<void>>();
  readonly #turnLength: number;
  #turn = { worker: 0, left: 0 };
  #nextJob = 0;
  #failure: unknown;
  #wake: { promise: Promise<void>; resolve: () => void; reject: (reason: unknown) => void } | undefined;

  constructor(options: EncoderOptions) {
    this.#options = options;
    const slotCount = options.slots ?? 24;
    const bufferCount = options.workers + (options.driver.capabilities.distant ? 6 : 2);
    this.#turnLength = Math.max(1, Math.min(longestTurn, Math.floor(slotCount / (3 * options.workers))));
    this.#slots = alignedMemory(slotCount * maxChunk);
    this.#packs = alignedMemory(bufferCount * packCapacity);
    for (let i = 0; i < slotCount; i++) this.#freeSlots.push(i);
    for (let i = 0; i < bufferCount; i++) this.#freeBuffers.push(i);
    for (let i = 0; i < options.workers; i++) this.#start(i);
  }

  /** To be called once. What was submitted before waits for the keys; without them the pool fails. */
  async begin(keys: Promise<DataKeys>): Promise<void> {
    try {
      this.#unlock(await keys);
    } catch (thrown) {
      this.#fail(thrown);
    }
  }

  #unlock({ dataKey, dataKeyId, catalogKey, catalogKeyId }: DataKeys): void {
    this.#dataKeyId = dataKeyId;
    for (const index of this.#workers.keys()) {
      this.#send(index, {
        type: 'keys',
        identity: { keyId: dataKeyId, catalogKeyId, kind: 'data' },
        key: dataKey,
        catalogKey,
        contentKey: contentKeyOf(catalogKey),
      });
    }
    this.#supply();
  }

  /** Throws what went wrong in a worker or in the store, or why there are no keys. */
  assertGood(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Undefined when there is room; else a promise of it. Throws what went wrong in a worker or in the store. */
  congestion(): Promise<void> | undefined {
    this.assertGood();
    if (this.#freeSlots.length >= reserve) return undefined;
    this.#wake ??= Promise.withResolvers<void>();
    return this.#wake.promise;
  }

  /** Call only after `congestion()` was undefined; up to six slots can then be taken. */
  take(): Slot {
    const index = this.#freeSlots.pop();
    if (index === undefined)
      throw new HelvinoError('INTERNAL', 'no slot is free: congestion was not awaited');
    return { index, bytes: new Uint8Array(this.#slots, index * maxChunk, maxChunk) };
  }

  /** Gives back a slot unused. */
  giveBack(slot: Slot): void {
    this.#freeSlots.push(slot.index);
  }

  submit(slot: Slot, segments: readonly JobSegment[], done: Done): void {
    const job = this.#nextJob++;
    const best = this.#choose();
    this.#workers[best]!.queued++;
    this.#pending.set(job, { done, worker: best });
    this.#send(best, { type: 'job', job, slot: slot.index, segments });
  }

  /** The worker with the least to do, a few times in turn: neighbours in a file then are neighbours in a pack, and restored by one write. */
  #choose(): number {
    let best = 0;
    for (let i = 1; i < this.#workers.length; i++) {
      if (this.#workers[i]!.queued < this.#workers[best]!.queued) best = i;
    }
    const { worker, left } = this.#turn;
    const stay = left > 0 && this.#workers[worker]!.queued < this.#workers[best]!.queued + longestTurn;
    this.#turn = stay ? { worker, left: left - 1 } : { worker: best, left: this.#turnLength - 1 };
    return this.#turn.worker;
  }

  /** Resolves when every submitted slot has been encoded, and so what was to be fetched is there. */
  async drained(): Promise<void> {
    while (this.#pending.size > 0) await this.#idle();
    this.assertGood();
  }

  /**
   * Resolves when every submitted slot is in a pack and every pack is durable. Workers and buffers are gone then: what comes
   * after the data needs the memory, and nothing more can be submitted.
   */
  async finish(): Promise<void> {
    await this.drained();
    await Promise.all(
      this.#workers.map((entry, index) => {
        const flushed = Promise.withResolvers<void>();
        entry.flushed = flushed.resolve;
        this.#send(index, { type: 'flush' });
        return Promise.race([flushed.promise, this.#failed()]);
      }),
    );
    await Promise.all(this.#puts);
    this.assertGood();
    await this.close();
    this.#slots = new SharedArrayBuffer(0);
    this.#packs = new SharedArrayBuffer(0);
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map(({ worker }) => endWorker(worker)));
    await Promise.allSettled(this.#puts);
  }

  #start(index: number): void {
    const worker = new Worker(new URL('./encode-worker.ts', import.meta.url), {
      resourceLimits: workerLimits,
      workerData: {
        slots: this.#slots,
        slotSize: maxChunk,
        packs: this.#packs,
        level: this.#options.level,
        fetch: this.#options.fetch?.module,
        memory: wasmMemoryOf(this.#slots),
      },
    });
    worker.on('message', (message: FromEncoder) => this.#receive(index, message));
    worker.on('error', (error) => this.#fail(error));
    this.#workers.push({ worker, queued: 0, wantsBuffer: true });
  }

  #send(index: number, message: ToEncoder): void {
    this.#workers[index]!.worker.postMessage(message);
  }

  #receive(index: number, message: FromEncoder): void {
    if (message.type === 'done') this.#done(index, message);
    else if (message.type === 'packed') this.#store(index, message);
    else this.#workers[index]!.flushed?.();
  }

  #done(index: number, message: Extract<FromEncoder, { type: 'done' }>): void {
    const pending = this.#pending.get(message.job)!;
    this.#pending.delete(message.job);
    this.#workers[index]!.queued--;
    this.#freeSlots.push(message.slot);
    const { placed } = message;
    const chunk = placed && { pack: message.packId, keyId: this.#dataKeyId!, ...placed };
    try {
      for (const report of message.reports) this.#options.fetch?.report(report);
      pending.done(message.results.map((r) => ({ ...r, chunk: r.kind === 'new' ? chunk : undefined })));
    } catch (thrown) {
      this.#fail(thrown);
    }
    if (this.#freeSlots.length >= reserve || this.#pending.size === 0) this.#wakeUp();
  }

  #store(index: number, message: Extract<FromEncoder, { type: 'packed' }>): void {
    const body = new Uint8Array(this.#packs, message.buffer * packCapacity, message.length);
    const size = message.length + message.directory.length;
    this.#workers[index]!.wantsBuffer = true;
    const put = this.#options.driver
      .put(packName(message.packId), [body, message.directory], { ifAbsent: true })
      .then(() => readBack(this.#options.driver, packName(message.packId), [body, message.directory]))
      .then(() => {
        this.stored.push({ id: message.packId, keyId: this.#dataKeyId!, size });
        this.#freeBuffers.push(message.buffer);
        this.#supply();
      })
      .catch((thrown: unknown) => this.#fail(thrown))
      .finally(() => this.#puts.delete(put));
    this.#puts.add(put);
    this.#supply();
  }

  #supply(): void {
    for (const [index, entry] of this.#workers.entries()) {
      if (!entry.wantsBuffer) continue;
      const buffer = this.#freeBuffers.pop();
      if (buffer === undefined) return;
      entry.wantsBuffer = false;
      this.#send(index, { type: 'buffer', buffer, packId: randomHex(16) });
    }
  }

  #idle(): Promise<void> {
    this.assertGood();
    this.#wake ??= Promise.withResolvers<void>();
    return this.#wake.promise;
  }

  async #failed(): Promise<never> {
    while (this.#failure === undefined) await this.#idle();
    throw this.#failure;
  }

  #wakeUp(): void {
    this.#wake?.resolve();
    this.#wake = undefined;
  }

  #fail(thrown: unknown): void {
    this.#failure ??= thrown;
    this.#wake?.promise.catch(() => undefined);
    this.#wake?.reject(this.#failure);
    this.#wake = undefined;
  }
}
