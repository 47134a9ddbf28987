/**
 * The log sealer: workers compress and encrypt large pieces of a log, so that the thread that receives it goes on receiving.
 * They are started by the first piece. How many pieces wait, and so the memory, is the user's part.
 */
import { Worker } from 'node:worker_threads';
import type { StorageDriver } from '../storage/index.ts';
import type { CatalogRing } from './keys.ts';
import type { FromLogSealer, SealLogJob } from './log-sealer-messages.ts';
import { putSealedPiece, type SealKeys } from './log-store.ts';

type Sealed = Pick<FromLogSealer, 'sealed' | 'bytes'>;

interface Pending {
  readonly resolve: (sealed: Sealed) => void;
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
   * As `putLogPiece`. Takes the bytes' memory over, all of it, and gives it back.
   */
  async put(
    driver: StorageDriver,
    name: string,
    bytes: Uint8Array<ArrayBuffer>,
    { ring, dataKey, dataKeyId }: { ring: CatalogRing; dataKey: Uint8Array; dataKeyId: string },
  ): Promise<Uint8Array<ArrayBuffer>> {
    const keys = { catalogKey: ring.current, catalogKeyId: ring.currentId, dataKey, dataKeyId };
    const done = await this.#seal(name, bytes, keys);
    await putSealedPiece(driver, name, { ...done, ring });
    return done.bytes;
  }

  #seal(name: string, bytes: Uint8Array<ArrayBuffer>, keys: SealKeys): Promise<Sealed> {
    if (this.#crash !== undefined) return Promise.reject(this.#crash);
    const job = this.#jobs++;
    const at = job % this.#most;
    this.#workers[at] ??= this.#start();
    const message: SealLogJob = { job, name, bytes, keys };
    return new Promise((resolve, reject) => {
      this.#pending.set(job, { resolve, reject });
      this.#workers[at]!.postMessage(message, [bytes.buffer]);
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #start(): Worker {
    const worker = new Worker(new URL('./log-sealer-worker.ts', import.meta.url));
    worker.on('message', ({ job, sealed, bytes }: FromLogSealer) => {
      this.#pending.get(job)?.resolve({ sealed, bytes });
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
