import type { Clock } from '../../base/clock.ts';

/** What may be caught up with after slower work, as time at the full rate. Milliseconds. */
const credit = 250;

/** Holds work to a rate. Time before the first call, and time spent waiting, is not caught up with. */
export class Pace {
  readonly #clock: Clock;
  readonly #rateKiB: number | undefined;
  readonly #signal: AbortSignal;
  #bytes = 0;
  #due: number | undefined;

  /** `rateKiB`: KiB a second; undefined: as fast as it goes. */
  constructor(clock: Clock, rateKiB: number | undefined, signal: AbortSignal) {
    this.#clock = clock;
    this.#rateKiB = rateKiB;
    this.#signal = signal;
  }

  /** Resolves when so many bytes may have been done in all. */
  async reached(bytes: number): Promise<void> {
    if (this.#rateKiB === undefined) return;
    const now = this.#clock.monotonic();
    const from = Math.max(this.#due ?? now, now - credit);
    this.#due = from + ((bytes - this.#bytes) / 1024 / this.#rateKiB) * 1000;
    this.#bytes = bytes;
    if (this.#due > now) await this.#clock.sleep(this.#due - now, this.#signal);
  }
}
