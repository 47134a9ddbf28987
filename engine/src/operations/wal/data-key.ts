import type { Clock } from '../../base/clock.ts';
import type { Repository } from '../../repository/index.ts';

/** A data key serves this long, then a new one is made. */
const lifetimeMs = 24 * 3600_000;

/** The data key that WAL is sealed with now; what was sealed before it was made this process can no longer read. */
export class RotatingDataKey {
  readonly #repository: Repository;
  readonly #recipients: readonly string[];
  readonly #clock: Clock;
  #made: { readonly key: Uint8Array; readonly keyId: string; readonly at: number } | undefined;

  constructor(options: { repository: Repository; recipients: readonly string[]; clock: Clock }) {
    this.#repository = options.repository;
    this.#recipients = options.recipients;
    this.#clock = options.clock;
  }

  async current(): Promise<{ readonly key: Uint8Array; readonly keyId: string }> {
    const now = this.#clock.monotonic();
    if (!this.#made || now - this.#made.at > lifetimeMs)
      this.#made = { ...(await this.#repository.newDataKey(this.#recipients)), at: now };
    return this.#made;
  }
}
