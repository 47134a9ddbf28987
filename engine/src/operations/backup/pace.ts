import type { Clock } from '../../base/clock.ts';

/** Holds work to a rate. */
export class Pace {
  readonly #clock: Clock;
  readonly #rateKiB: number | undefined;
  readonly #signal: AbortSignal;
  readonly #begun: number;

  /** `rateKiB`: KiB a second; undefined: as fast as it goes. */
  constructor(clock: Clock, rateKiB: number | undefined, signal: AbortSignal) {
    this.#clock = clock;
    this.#rateKiB = rateKiB;
    this.#signal = signal;
    this.#begun = clock.monotonic();
  }

  /** Resolves when so many bytes may have been done in all. */
  async reached(bytes: number): Promise<void> {
    if (this.#rateKiB === undefined) return;
    const due = this.#begun + (bytes / 1024 / this.#rateKiB) * 1000;
    const wait = due - this.#clock.monotonic();
    if (wait > 0) await this.#clock.sleep(wait, this.#signal);
  }
}
