/**
 * The decoder pool: the main thread reads runs of packs into shared buffers, workers open the chunks and write them to
 * their places. Memory is fixed: one pack buffer more than workers, four more for a distant store.
 */
import { Worker } from 'node:worker_threads';
import { alignedMemory } from '../base/aligned-memory.ts';
import { HelvinoError, targetCode } from '../base/errors.ts';
import type { ChunkProblem, DecodeChunk, DecodeJob, FromDecoder } from './decoder-messages.ts';
import { type CatalogRing, contentKeyOf } from './keys.ts';
import { packCapacity } from './pack-builder.ts';
import { WorkerCrew } from './worker-crew.ts';

export type { ChunkProblem, DecodeChunk, DecodedPiece } from './decoder-messages.ts';

export interface DecodeOutcome {
  readonly problems: readonly ChunkProblem[];
  readonly written: number;
  /** How many of the bytes written are in the page cache still. */
  readonly cached: number;
}

export interface DecoderBuffer {
  readonly index: number;
  /** Room for the chunks of any pack. */
  readonly bytes: Uint8Array;
}

export class DecoderPool {
  readonly #buffers: SharedArrayBuffer;
  readonly #free: number[] = [];
  readonly #waiting: { resolve: (index: number) => void; reject: (reason: unknown) => void }[] = [];
  readonly #crew: WorkerCrew;
  readonly #pending = new Map<
    number,
    {
      resolve: (outcome: DecodeOutcome) => void;
      reject: (reason: unknown) => void;
      done: () => void;
      buffer: number;
    }
  >();
  #nextJob = 0;
  /** What ended a worker: its buffers are lost, so the pool is of no more use. */
  #crash: unknown;

  constructor(options: {
    readonly keys: ReadonlyMap<string, Uint8Array>;
    readonly ring: CatalogRing;
    readonly workers: number;
    /** What is decoded comes over a network: more is read at a time. */
    readonly distant?: boolean;
  }) {
    const count = options.workers + (options.distant ? 4 : 1);
    this.#buffers = alignedMemory(count * packCapacity);
    for (let i = 0; i < count; i++) this.#free.push(i);
    const contentKeys = new Map(options.ring.ids.map((id) => [id, contentKeyOf(options.ring.find(id)!)]));
    this.#crew = new WorkerCrew(options.workers, () => {
      const worker = new Worker(new URL('./decode-worker.ts', import.meta.url), {
        workerData: { buffers: this.#buffers, keys: options.keys, contentKeys },
      });
      worker.on('message', (message: FromDecoder) => this.#receive(message));
      worker.on('error', (error) => this.#crashed(error));
      return worker;
    });
  }

  /** Waits for a free buffer. It is given back by `decode`, or by `giveBack`. */
  async buffer(): Promise<DecoderBuffer> {
    if (this.#crash !== undefined) throw this.#crash;
    const index =
      this.#free.pop() ??
      (await new Promise<number>((resolve, reject) => this.#waiting.push({ resolve, reject })));
    return { index, bytes: new Uint8Array(this.#buffers, index * packCapacity, packCapacity) };
  }

  giveBack(buffer: DecoderBuffer): void {
    this.#release(buffer.index);
  }

  /** Throws TARGET_* when a file cannot be written; damage is in the outcome. */
  decode(buffer: DecoderBuffer, chunks: readonly DecodeChunk[], compare = false): Promise<DecodeOutcome> {
    if (this.#crash !== undefined) return Promise.reject(this.#crash);
    const job: DecodeJob = { job: this.#nextJob++, buffer: buffer.index, chunks, compare };
    return new Promise((resolve, reject) => {
      const done = this.#crew.give(job);
      this.#pending.set(job.job, { resolve, reject, done, buffer: buffer.index });
    });
  }

  async close(): Promise<void> {
    await this.#crew.close();
  }

  #receive(message: FromDecoder): void {
    const pending = this.#pending.get(message.job);
    // After a crash every job was given up.
    if (pending === undefined) return;
    this.#pending.delete(message.job);
    pending.done();
    this.#release(pending.buffer);
    if (message.failure) pending.reject(targetFailure(message.failure));
    else pending.resolve(message);
  }

  #crashed(error: unknown): void {
    this.#crash ??= error;
    for (const { reject } of [...this.#pending.values(), ...this.#waiting]) reject(error);
    this.#pending.clear();
    this.#waiting.length = 0;
  }

  #release(index: number): void {
    const next = this.#waiting.shift();
    if (next) next.resolve(index);
    else this.#free.push(index);
  }
}

/** What a worker met when it wrote a file. */
export function targetFailure(failure: NonNullable<FromDecoder['failure']>): HelvinoError {
  const context = { path: failure.path, system: failure.code };
  const code = targetCode(failure);
  if (code === 'TARGET_TOO_SMALL') {
    return new HelvinoError(code, `the disk is full: ${failure.path} cannot be written`, {
      hint: 'make room and run the same restore again: it goes on where it was',
      context,
    });
  }
  if (code === 'TARGET_DENIED') {
    return new HelvinoError(code, `${failure.path} cannot be written: ${failure.message}`, {
      hint: 'run as a user that may write there',
      context,
    });
  }
  return new HelvinoError(code, `${failure.path} cannot be written: ${failure.message}`, { context });
}
