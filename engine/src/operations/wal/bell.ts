/** Says that something is due. What was rung while nobody waited is heard by the next who does. */
import type { Clock } from '../../base/clock.ts';

export class Bell {
  #isRung = false;
  #hear: (() => void) | undefined;

  ring(): void {
    this.#isRung = true;
    this.#hear?.();
  }

  /** True: it rang; false: the time is over, or the signal came. One waits at a time. */
  async wait(clock: Clock, milliseconds: number, signal: AbortSignal): Promise<boolean> {
    const end = new AbortController();
    const stop = () => end.abort();
    signal.addEventListener('abort', stop, { once: true });
    this.#hear = stop;
    if (!this.#isRung && !signal.aborted) await clock.sleep(milliseconds, end.signal).catch(() => undefined);
    this.#hear = undefined;
    signal.removeEventListener('abort', stop);
    const isRung = this.#isRung;
    this.#isRung = false;
    return isRung && !signal.aborted;
  }
}
