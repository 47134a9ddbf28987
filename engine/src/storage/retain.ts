/** Object lock by default, for any driver that can. */
import type { Clock } from '../base/clock.ts';
import type { StorageDriver } from './driver.ts';

export interface RetainOptions {
  /** How long every new object is kept at least. */
  readonly keepMs: number;
  /** Names that begin so are not kept: they are removed in the course of things. */
  readonly except: readonly string[];
  readonly clock: Clock;
}

/**
 * Every object that is put without a retention of its own is kept for `keepMs`, by the store's clock; `passing` objects and
 * those of `except` are not. A driver that cannot retain is returned as it is.
 */
export function withRetention(driver: StorageDriver, options: RetainOptions): StorageDriver {
  if (!driver.capabilities.retention) return driver;
  const { keepMs, except, clock } = options;
  let known: { readonly store: number; readonly here: number } | undefined;
  // Asked once: this host's clock may be wrong, and a retention that is too long cannot be taken back.
  const storeNow = async () => {
    known ??= { store: (await driver.now()).getTime(), here: clock.monotonic() };
    return known.store + (clock.monotonic() - known.here);
  };
  return {
    capabilities: { ...driver.capabilities, keepMs },
    async put(name, body, how) {
      const plain =
        how.passing === true ||
        how.retainUntil !== undefined ||
        except.some((prefix) => name.startsWith(prefix));
      const retainUntil = plain ? how.retainUntil : new Date((await storeNow()) + keepMs);
      await driver.put(name, body, { ...how, retainUntil });
    },
    get: (name, range, into) => driver.get(name, range, into),
    head: (name) => driver.head(name),
    list: (prefix) => driver.list(prefix),
    remove: (name) => driver.remove(name),
    extendRetention: (name, until) => driver.extendRetention(name, until),
    now: () => driver.now(),
    close: () => driver.close(),
  };
}
