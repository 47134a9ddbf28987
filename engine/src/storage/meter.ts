import type { ObjectFacts, StorageDriver } from './driver.ts';

/** What was read through a driver so far. */
export interface Meter {
  /** Bytes that `get` has returned. */
  bytes: number;
  /** Calls: `get`, `head`, and each `list` once. */
  requests: number;
}

/** Counts what is read, as the caller sees it: retries below are not counted. */
export function withMeter(driver: StorageDriver, meter: Meter): StorageDriver {
  return {
    capabilities: driver.capabilities,
    put: (name, body, how) => driver.put(name, body, how),
    async get(name, range, into) {
      meter.requests++;
      const bytes = await driver.get(name, range, into);
      meter.bytes += bytes.length;
      return bytes;
    },
    head(name) {
      meter.requests++;
      return driver.head(name);
    },
    remove: (name) => driver.remove(name),
    extendRetention: (name, until) => driver.extendRetention(name, until),
    now: () => driver.now(),
    close: () => driver.close(),
    list(prefix): AsyncIterable<ObjectFacts> {
      meter.requests++;
      return driver.list(prefix);
    },
  };
}
