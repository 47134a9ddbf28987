/**
 * The log opener pool: workers open pieces of a log and write them to their places. It holds as many pieces as its user has
 * given it and not yet had back: to bound that, and so the memory, is the user's part.
 */
import { Worker } from 'node:worker_threads';
import { HelvinoError } from '../base/errors.ts';
import { targetFailure } from './decoder-pool.ts';
import type { FromLogOpener, OpenLogJob } from './log-opener-messages.ts';
import { WorkerCrew } from './worker-crew.ts';

interface Pending {
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
  readonly done: () => void;
  readonly name: string;
}

export class LogOpenerPool {
  readonly #crew: WorkerCrew;
  readonly #pending = new Map<number, Pending>();
  #nextJob = 0;
  #crash: unknown;

  constructor({ workers }: { workers: number }) {
    this.#crew = new WorkerCrew(workers, () => {
      const worker = new Worker(new URL('./log-opener-worker.ts', import.meta.url));
      worker.on('message', (message: FromLogOpener) => this.#receive(message));
      worker.on('error', (error) => this.#crashed(error));
      return worker;
    });
  }

  /** Takes the sealed bytes over. Throws REPOSITORY_DAMAGED, and TARGET_* when a file cannot be written. */
  open(job: Omit<OpenLogJob, 'job'>): Promise<void> {
    if (this.#crash !== undefined) return Promise.reject(this.#crash);
    const number = this.#nextJob++;
    const { buffer, byteLength } = job.sealed;
    const whole = buffer instanceof ArrayBuffer && buffer.byteLength === byteLength;
    // Memory that is shared with others is copied instead.
    const sealed = whole ? job.sealed : new Uint8Array(job.sealed);
    return new Promise((resolve, reject) => {
      const message: OpenLogJob = { ...job, sealed, job: number };
      const done = this.#crew.give(message, [sealed.buffer as ArrayBuffer]);
      this.#pending.set(number, { resolve, reject, done, name: job.name });
    });
  }

  async close(): Promise<void> {
    await this.#crew.close();
  }

  #receive({ job, damage, failure }: FromLogOpener): void {
    const pending = this.#pending.get(job);
    // After a crash every job was given up.
    if (pending === undefined) return;
    this.#pending.delete(job);
    pending.done();
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
