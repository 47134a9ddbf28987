/**
 * The log opener pool: workers open pieces of a log and write them to their places. It holds as many pieces as its user has
 * given it and not yet had back: to bound that, and so the memory, is the user's part.
 */
import { Worker } from 'node:worker_threads';
import { HelvinoError } from '../base/errors.ts';
import { endWorker } from '../base/workers.ts';
import { targetFailure } from './decoder-pool.ts';
import type { FromLogOpener, OpenLogJob } from './log-opener-messages.ts';

interface Pending {
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
  readonly worker: number;
  readonly name: string;
}

export class LogOpenerPool {
  readonly #workers: { worker: Worker; queued: number }[] = [];
  readonly #pending = new Map<number, Pending>();
  #nextJob = 0;
  #crash: unknown;

  constructor({ workers }: { workers: number }) {
    for (let i = 0; i < workers; i++) {
      const worker = new Worker(new URL('./log-opener-worker.ts', import.meta.url));
      worker.on('message', (message: FromLogOpener) => this.#receive(message));
      worker.on('error', (error) => this.#crashed(error));
      this.#workers.push({ worker, queued: 0 });
    }
  }

  /** Takes the sealed bytes over. Throws REPOSITORY_DAMAGED, and TARGET_* when a file cannot be written. */
  open(job: Omit<OpenLogJob, 'job'>): Promise<void> {
    if (this.#crash !== undefined) return Promise.reject(this.#crash);
    const best = this.#workers.reduce(
      (least, { queued }, at) => (queued < this.#workers[least]!.queued ? at : least),
      0,
    );
    const number = this.#nextJob++;
    const { buffer, byteLength } = job.sealed;
    const whole = buffer instanceof ArrayBuffer && buffer.byteLength === byteLength;
    // Memory that is shared with others is copied instead.
    const sealed = whole ? job.sealed : new Uint8Array(job.sealed);
    this.#workers[best]!.queued++;
    return new Promise((resolve, reject) => {
      this.#pending.set(number, { resolve, reject, worker: best, name: job.name });
      const message: OpenLogJob = { ...job, sealed, job: number };
      this.#workers[best]!.worker.postMessage(message, [sealed.buffer as ArrayBuffer]);
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.map(({ worker }) => endWorker(worker)));
  }

  #receive({ job, damage, failure }: FromLogOpener): void {
    const pending = this.#pending.get(job);
    // After a crash every job was given up.
    if (pending === undefined) return;
    this.#pending.delete(job);
    this.#workers[pending.worker]!.queued--;
    if (failure) pending.reject(targetFailure(failure));
    else if (damage === undefined) pending.resolve();
    else
      pending.reject(new HelvinoError('REPOSITORY_DAMAGED', damage, { context: { object: pending.name } }));
  }

  #crashed(error: unknown): void {
    this.#crash ??= error;
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}
