/**
 * The log sealer: workers compress and encrypt large pieces of a log, so that the thread that receives it goes on receiving.
 * They are started by the first piece. How many pieces wait, and so the memory, is the user's part.
 */
import { Worker } from 'node:worker_threads';
import { endWorker } from '../base/workers.ts';
import type { StorageDriver } from '../storage/index.ts';
import type { CatalogRing } from './keys.ts';
import type { FromLogSealer, SealLogJob } from './log-sealer-messages.ts';
import { longestSealed, putSealedPiece } from './log-store.ts';
import { giveBack, takeMemory } from './sealing-memory.ts';

interface Pending {
  readonly resolve: (length: number) => void;
  readonly reject: (reason: unknown) => void;
}

export class LogSealer {
  readonly #most: number;
  readonly #workers: Worker[] = [];
  readonly #pending = new Map<number, Pending>();
  #jobs = 0;
  #crash: unknown;

  constructor({ workers }: { workers: number }) {
    this.#most = workers;
  }

  /**
   * As `putLogPiece`. The memory is shared, not handed over: it is not to be written before this has settled. (What is handed
   * over counts as new memory each time, and a heap is searched for garbage for every few pieces.)
   */
  async put(
    driver: StorageDriver,
    name: string,
    bytes: Uint8Array<SharedArrayBuffer>,
    { ring, dataKey, dataKeyId }: { ring: CatalogRing; dataKey: Uint8Array; dataKeyId: string },
  ): Promise<void> {
    const keys = { catalogKey: ring.current, catalogKeyId: ring.currentId, dataKey, dataKeyId };
    const memory = takeMemory(longestSealed(bytes.length));
    // After a crash a worker may still write there: then it is not given back.
    const length = await this.#seal({ name, bytes, keys, memory });
    try {
      await putSealedPiece(driver, name, { sealed: new Uint8Array(memory, 0, length), bytes, ring });
    } finally {
      giveBack(memory);
    }
  }

  #seal(work: Omit<SealLogJob, 'job'>): Promise<number> {
    if (this.#crash !== undefined) return Promise.reject(this.#crash);
    const job = this.#jobs++;
    const at = job % this.#most;
    this.#workers[at] ??= this.#start();
    const message: SealLogJob = { job, ...work };
    return new Promise((resolve, reject) => {
      this.#pending.set(job, { resolve, reject });
      this.#workers[at]!.postMessage(message);
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map(endWorker));
  }

  #start(): Worker {
    const worker = new Worker(new URL('./log-sealer-worker.ts', import.meta.url));
    worker.on('message', ({ job, length }: FromLogSealer) => {
      this.#pending.get(job)?.resolve(length);
      this.#pending.delete(job);
    });
    worker.on('error', (error) => {
      this.#crash ??= error;
      for (const { reject } of this.#pending.values()) reject(error);
      this.#pending.clear();
    });
    return worker;
  }
}
