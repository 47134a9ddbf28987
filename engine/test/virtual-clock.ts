/** Time that passes only when a test lets it. */
import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../src/base/clock.ts';

interface Timer {
  readonly at: number;
  wake(): void;
}

/** Turns of the event loop after which nothing more happens by itself. */
const turns = 8;

export class VirtualClock implements Clock {
  #now = 0;
  #timers: Timer[] = [];

  now(): Date {
    return new Date(this.#now);
  }

  monotonic(): number {
    return this.#now;
  }

  async sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) throw signal.reason;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const timer = { at: this.#now + milliseconds, wake: resolve };
    this.#timers.push(timer);
    const stop = () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', stop, { once: true });
    await promise.finally(() => signal?.removeEventListener('abort', stop));
  }

  /** Lets time pass: whoever sleeps wakes in its order. */
  async pass(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    for (;;) {
      for (let i = 0; i < turns; i++) await setImmediate();
      const next = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#now = next.at;
      this.#timers = this.#timers.filter((other) => other !== next);
      next.wake();
    }
    this.#now = end;
  }
}
