/**
 * The worker threads of a pool. The first starts at once, one more when there is work and all others have some: a start takes
 * a twentieth of a second of a processor, and for a small backup one is enough.
 */
import type { Transferable, Worker } from 'node:worker_threads';
import { endWorker } from '../base/workers.ts';

export class WorkerCrew {
  readonly #most: number;
  readonly #make: () => Worker;
  readonly #workers: { worker: Worker; queued: number }[] = [];

  constructor(most: number, make: () => Worker) {
    this.#most = most;
    this.#make = make;
    this.#start();
  }

  #start(): { worker: Worker; queued: number } {
    const started = { worker: this.#make(), queued: 0 };
    this.#workers.push(started);
    return started;
  }

  /** To the one with the least to do. The function that is returned says that it is done. */
  give(message: unknown, transfer: readonly Transferable[] = []): () => void {
    let least = this.#workers[0]!;
    for (const one of this.#workers) if (one.queued < least.queued) least = one;
    if (least.queued > 0 && this.#workers.length < this.#most) least = this.#start();
    least.queued++;
    least.worker.postMessage(message, transfer);
    return () => void least.queued--;
  }

  /** After what they were given. */
  async close(): Promise<void> {
    await Promise.all(this.#workers.map(({ worker }) => endWorker(worker)));
  }
}
