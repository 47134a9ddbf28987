/** How long each phase of a drill took, and what it read. */
import type { Clock } from '../../base/clock.ts';
import type { Meter } from '../../storage/index.ts';
import type { Phase, PhaseName } from './report.ts';

export class Phases {
  readonly #clock: Clock;
  readonly #meter: Meter;
  readonly #done = new Map<PhaseName, { seconds: number; bytes: number; requests: number }>();
  #current: { name: PhaseName; begun: number; bytes: number; requests: number } | undefined;

  constructor(clock: Clock, meter: Meter) {
    this.#clock = clock;
    this.#meter = meter;
  }

  /** Ends the one before. A phase that comes again is added up. `since`: by the monotonic clock. */
  enter(name: PhaseName, since = this.#clock.monotonic()): void {
    this.#leave();
    this.#current = { name, begun: since, bytes: this.#meter.bytes, requests: this.#meter.requests };
  }

  all(): Phase[] {
    this.#leave();
    return [...this.#done].map(([name, sums]) => ({ name, ...sums }));
  }

  #leave(): void {
    const current = this.#current;
    this.#current = undefined;
    if (!current) return;
    const before = this.#done.get(current.name) ?? { seconds: 0, bytes: 0, requests: 0 };
    this.#done.set(current.name, {
      seconds: before.seconds + (this.#clock.monotonic() - current.begun) / 1000,
      bytes: before.bytes + this.#meter.bytes - current.bytes,
      requests: before.requests + this.#meter.requests - current.requests,
    });
  }
}
