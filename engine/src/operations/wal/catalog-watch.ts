/** Keeps the stored names of a server's relations fresh while its WAL is streamed: all at the start, then what changed. */
import type { Clock } from '../../base/clock.ts';
import { type CatalogSnapshot, withSql } from '../../postgres/index.ts';
import { readSource } from '../backup/source.ts';
import { type StoreNamesOptions, storeCatalogNames } from './catalog-names.ts';

/** Changes often come in rows: a migration is looked at once it has been quiet for so long. */
const quietMs = 500;
/** Looking takes at most a twentieth of the time, however many relations there are. */
const restFactor = 20;

export class CatalogWatch {
  readonly #options: Omit<StoreNamesOptions, 'databases' | 'timeline'> & { readonly clock: Clock };
  readonly #names = new Map<number, string>();
  readonly #stop = new AbortController();
  #timeline = 1;
  #wanted = new Set<number>();
  #running: Promise<void> | undefined;
  /** Told of each new snapshot. */
  onSnapshot: ((snapshot: CatalogSnapshot) => void) | undefined;

  constructor(options: Omit<StoreNamesOptions, 'databases' | 'timeline'> & { readonly clock: Clock }) {
    this.#options = options;
  }

  set timeline(timeline: number) {
    this.#timeline = timeline;
  }

  async takeAll(databases: readonly string[]): Promise<CatalogSnapshot[]> {
    const signal = AbortSignal.any([this.#options.signal, this.#stop.signal]);
    const snapshots = await storeCatalogNames({
      ...this.#options,
      databases,
      timeline: this.#timeline,
      signal,
    });
    for (const { database } of snapshots) this.#names.set(database.oid, database.name);
    return snapshots;
  }

  /** Databases, by oid, whose relations changed. */
  changed(databases: readonly number[]): void {
    for (const oid of databases) this.#wanted.add(oid);
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    while (this.#wanted.size > 0 && !signal.aborted) {
      await clock.sleep(quietMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      const wanted = [...this.#wanted];
      this.#wanted = new Set();
      const begun = clock.monotonic();
      try {
        const databases = wanted.every((oid) => this.#names.has(oid))
          ? wanted.map((oid) => this.#names.get(oid)!)
          : await this.#allDatabases(signal);
        for (const snapshot of await this.takeAll(databases)) this.onSnapshot?.(snapshot);
      } catch {
        // The server or the store is away: the stream notices by itself, and looks at everything when it begins anew.
        return;
      }
      await clock.sleep((clock.monotonic() - begun) * restFactor, signal).catch(() => undefined);
    }
  }

  async #allDatabases(signal: AbortSignal): Promise<readonly string[]> {
    return withSql(this.#options.connection, { signal }, async (sql) => (await readSource(sql)).databases);
  }
}
