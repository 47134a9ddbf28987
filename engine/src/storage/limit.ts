import { Semaphore } from '../streams/index.ts';
import type { ObjectFacts, StorageDriver } from './driver.ts';

/**
 * At most `concurrency` calls at the store at a time; the rest wait in turn. Exempt are objects below `leases/` and the
 * store's clock: a lease that waits behind gigabytes of data would die. A `list` counts only while it asks for the next
 * objects, so that its consumer may call the store in between.
 */
export function withLimit(driver: StorageDriver, options: { readonly concurrency: number }): StorageDriver {
  const semaphore = new Semaphore(options.concurrency);
  const limited = <Result>(name: string, work: () => Promise<Result>): Promise<Result> =>
    name.startsWith('leases/') ? work() : semaphore.run(work);

  return {
    capabilities: driver.capabilities,
    put: (name, body, how) => limited(name, () => driver.put(name, body, how)),
    get: (name, range, into) => limited(name, () => driver.get(name, range, into)),
    head: (name) => limited(name, () => driver.head(name)),
    remove: (name) => limited(name, () => driver.remove(name)),
    extendRetention: (name, until) => limited(name, () => driver.extendRetention(name, until)),
    now: () => driver.now(),
    close: () => driver.close(),
    async *list(prefix): AsyncGenerator<ObjectFacts, void, void> {
      const objects = driver.list(prefix)[Symbol.asyncIterator]();
      let ended = false;
      try {
        for (;;) {
          const next = await limited(prefix, () => objects.next());
          ended = next.done === true;
          if (next.done) return;
          yield next.value;
        }
      } finally {
        if (!ended) await objects.return?.();
      }
    },
  };
}
