/** Gives a permit back. Calling it twice is harmless. */
export type Release = () => void;

/** At most `permits` holders at a time; whoever waited longest is next. */
export class Semaphore {
  #free: number;
  readonly #waiting: ((release: Release) => void)[] = [];

  constructor(permits: number) {
    if (!Number.isInteger(permits) || permits < 1)
      throw new RangeError(`permits is ${permits}, not a whole number above 0`);
    this.#free = permits;
  }

  async acquire(): Promise<Release> {
    if (this.#free === 0) return new Promise((resolve) => this.#waiting.push(resolve));
    this.#free--;
    return this.#release();
  }

  /** Runs `work` with a permit, which is given back however the work ends. */
  async run<Result>(work: () => Promise<Result> | Result): Promise<Result> {
    const release = await this.acquire();
    try {
      return await work();
    } finally {
      release();
    }
  }

  #release(): Release {
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      const next = this.#waiting.shift();
      // Handed over directly, so that a newcomer cannot take it from whoever waits.
      if (next === undefined) this.#free++;
      else next(this.#release());
    };
  }
}
