/**
 * `helvino copy`: brings one copy of a repository up to date from another, without the database. Order: keys, descriptor, holds,
 * then for each backup its packs, its manifest, its ledger entry; then WAL and the notes about it. So a copy that stops half-way holds whole backups
 * only, and goes on where it stopped. Nothing at the target is overwritten, and nothing removed but holds that were lifted; what was removed
 * there on purpose stays away. Listings are compared as they come, in
 * order: memory stays flat.
 */
import type { Clock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import {
  compareHolds,
  Lease,
  PackIds,
  PackList,
  packName,
  type Removed,
  type Repository,
  removedFrom,
  retainNeeds,
} from '../../repository/index.ts';
import type { StorageDriver } from '../../storage/index.ts';
import { mapParallel } from '../../streams/index.ts';
import { damageAtSource, type Route, transferObject } from './transfer-object.ts';

export interface CopyOptions {
  readonly source: Repository;
  /** May be empty: then the copy is made. */
  readonly target: StorageDriver;
  readonly database: string;
  /** Only backups that were committed since, by the source's clock. */
  readonly since?: Date;
  /** Also what was removed from the target on purpose. */
  readonly again?: boolean;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface CopyPlan {
  /** True when there is no repository at the target yet. */
  readonly fresh: boolean;
  /** Backups that the target lacks, oldest first. */
  readonly backups: readonly string[];
  /** Backups that were removed from the target on purpose, and are not brought back. */
  readonly removed: readonly string[];
  readonly wal: { readonly pieces: number; readonly bytes: number };
}

export interface CopyReport {
  readonly backups: readonly { readonly id: string; readonly problem?: string }[];
  /** As in the plan. */
  readonly removed: readonly string[];
  readonly objects: number;
  readonly bytes: number;
  /** Objects besides the backups that the source could not give. */
  readonly problems: readonly { readonly object: string; readonly why: string }[];
}

const atOnce = 4;
const descriptor = 'helvino.json';

/** Throws CONFIG_INVALID when another repository is at the target. */
export async function planCopy(options: CopyOptions): Promise<CopyPlan> {
  const { source, target, database } = options;
  const fresh = !(await isCopy(source, target));
  const wal = { pieces: 0, bytes: 0 };
  const gone = await goneFrom(options);
  for await (const { name, size } of missingObjects(source.driver, target, `wal/${database}/`)) {
    if (gone.covers(name)) continue;
    wal.pieces++;
    wal.bytes += size;
  }
  return { fresh, ...(await missingBackups(options, gone)), wal };
}

export async function copy(options: CopyOptions): Promise<CopyReport> {
  const { source, target, database, clock } = options;
  await isCopy(source, target);
  const gone = await goneFrom(options);
  const run = new CopyRun(options, gone);
  await run.bring('keys/');
  if ((await target.head(descriptor)) === undefined) await run.object(descriptor);
  // Before the backups: what is held must not be removed there meanwhile.
  await run.holds();
  const { backups, removed } = await missingBackups(options, gone);
  await using cleanup = new AsyncDisposableStack();
  // The source must not lose them meanwhile, and the target must not collect their packs before the manifests are there.
  for (const driver of [source.driver, target]) {
    const lease = await leaseIfAllowed(driver, clock, backups);
    cleanup.defer(() => lease?.release());
  }
  await run.backups(backups);
  await run.bring('proofs/');
  for (const part of ['keys/', `reports/${database}/`, `removed/${database}/`])
    await run.bring(`evidence/${part}`);
  await run.log();
  return { ...run.report, removed };
}

/** Only WAL and keys: what a stream missed. */
export async function copyLog(options: CopyOptions): Promise<void> {
  const run = new CopyRun(options, await goneFrom(options));
  await run.bring('keys/');
  await run.log();
}

class CopyRun {
  readonly report = {
    backups: [] as { id: string; problem?: string }[],
    objects: 0,
    bytes: 0,
    problems: [] as { object: string; why: string }[],
  };
  readonly #options: CopyOptions;
  readonly #route: Route;
  readonly #gone: Removed;
  /** Packs that are known to be at the target: backups share most of them. */
  readonly #there = new PackIds();

  constructor(options: CopyOptions, gone: Removed) {
    this.#options = options;
    this.#gone = gone;
    this.#route = { source: options.source.driver, target: options.target, ring: options.source.ring };
  }

  async backups(ids: readonly string[]): Promise<void> {
    const { progress, signal } = this.#options;
    for (const id of ids) {
      signal.throwIfAborted();
      progress.phase(`copying backup ${id}`, undefined, 'bytes');
      try {
        await this.#backup(id);
        this.report.backups.push({ id });
      } catch (thrown) {
        // Removed at the source since it was listed.
        if (thrown instanceof HelvinoError && thrown.code === 'BACKUP_NOT_FOUND') continue;
        this.report.backups.push({ id, problem: damageAtSource(thrown) });
      }
    }
  }

  async #backup(id: string): Promise<void> {
    const { source, database } = this.#options;
    const packs = new PackList();
    const { keys } = await source.summary(database, id, (pack) => packs.add(pack));
    for await (const _ of mapParallel(packs, atOnce, (pack) => this.#pack(pack))) this.#stopIfAsked();
    await this.#retain({ packs, keys });
    await this.object(`backups/${database}/${id}`);
    await this.object(`ledger/${database}/${id}`);
  }

  /** With object lock: what the backup shares with those that are there is locked as long as what was brought, before it exists. */
  async #retain(needs: Parameters<typeof retainNeeds>[1]): Promise<void> {
    const { target } = this.#options;
    const { keepMs } = target.capabilities;
    if (keepMs === undefined) return;
    await retainNeeds(target, needs, new Date((await target.now()).getTime() + keepMs));
  }

  async #pack({ id, size }: { id: string; size: number }): Promise<void> {
    if (this.#there.has(id)) return;
    const name = packName(id);
    const there = await this.#options.target.head(name);
    if (there !== undefined && there.size !== size) {
      throw new HelvinoError(
        'STORAGE_SHORT_READ',
        `${name} has ${there.size} bytes at the target, not ${size}`,
        { hint: 'mend the copy first: helvino heal', context: { object: name } },
      );
    }
    if (there === undefined) await this.object(name);
    this.#there.numberOf(id);
  }

  /** A hold that was lifted here is lifted there: the only thing that a copy removes. */
  async holds(): Promise<void> {
    const { source, target, database } = this.#options;
    const { bring, lift } = await compareHolds(source.driver, target, database);
    for (const name of bring) await this.#bring(name);
    for (const name of lift) {
      try {
        await target.remove(name);
      } catch (thrown) {
        if (!(thrown instanceof HelvinoError && thrown.code === 'STORAGE_DENIED')) throw thrown;
        this.report.problems.push({ object: name, why: `it was lifted, and stays: ${thrown.message}` });
      }
    }
  }

  /** WAL, and what spares `find` from reading it. */
  async log(): Promise<void> {
    for (const kind of ['wal', 'log-index', 'log-names'])
      await this.bring(`${kind}/${this.#options.database}/`);
  }

  /** Everything below the prefix that the target lacks, except what was removed there. */
  async bring(prefix: string): Promise<void> {
    const { source, target, progress } = this.#options;
    progress.phase(`copying ${prefix}`, undefined, 'bytes');
    const missing = missingObjects(source.driver, target, prefix);
    for await (const _ of mapParallel(missing, atOnce, ({ name }) => this.#bring(name))) this.#stopIfAsked();
  }

  async #bring(name: string): Promise<void> {
    try {
      if (!this.#gone.covers(name)) await this.object(name);
    } catch (thrown) {
      // A part of WAL that was superseded since it was listed, or a hold that was lifted.
      if (thrown instanceof HelvinoError && thrown.code === 'STORAGE_NOT_FOUND') return;
      this.report.problems.push({ object: name, why: damageAtSource(thrown) });
    }
  }

  async object(name: string): Promise<void> {
    const bytes = await transferObject(this.#route, name);
    this.report.objects++;
    this.report.bytes += bytes;
    this.#options.progress.advance(bytes);
  }

  #stopIfAsked(): void {
    this.#options.signal.throwIfAborted();
  }
}

/** Throws CONFIG_INVALID when the target holds another repository; false when it holds none. */
async function isCopy(source: Repository, target: StorageDriver): Promise<boolean> {
  if ((await target.head(descriptor)) === undefined) return false;
  const [own, other] = await Promise.all(
    [source.driver, target].map(async (driver) => Buffer.from(await driver.get(descriptor))),
  );
  if (own!.equals(other!)) return true;
  throw new HelvinoError(
    'CONFIG_INVALID',
    `${target.capabilities.place} holds another repository, or ${descriptor} is damaged there`,
    { hint: 'give the copy an empty place of its own' },
  );
}

async function goneFrom({ target, database, again }: CopyOptions): Promise<Removed> {
  if (again) return { backups: new Set(), covers: () => false };
  return removedFrom(target, database);
}

async function missingBackups(
  { source, target, database, since }: CopyOptions,
  gone: Removed,
): Promise<{ backups: string[]; removed: string[] }> {
  const backups: string[] = [];
  const removed: string[] = [];
  for await (const { name, modified } of missingObjects(source.driver, target, `backups/${database}/`)) {
    if (since !== undefined && modified < since) continue;
    const id = name.slice(name.lastIndexOf('/') + 1);
    if (gone.backups.has(id)) removed.push(id);
    else backups.push(id);
  }
  return { backups, removed };
}

/** Objects of the source that the target lacks; both lists come in order of name. */
async function* missingObjects(
  source: StorageDriver,
  target: StorageDriver,
  prefix: string,
): AsyncGenerator<{ name: string; size: number; modified: Date }> {
  const there = target.list(prefix)[Symbol.asyncIterator]();
  try {
    let next = await there.next();
    for await (const object of source.list(prefix)) {
      while (!next.done && next.value.name < object.name) next = await there.next();
      if (next.done || next.value.name !== object.name) yield object;
    }
  } finally {
    await there.return?.();
  }
}

/** Credentials that may only read a store hold no lease there: then nobody may remove backups meanwhile. */
async function leaseIfAllowed(
  driver: StorageDriver,
  clock: Clock,
  uses: readonly string[],
): Promise<Lease | undefined> {
  try {
    return await Lease.acquire(driver, clock, { kind: 'copy', uses });
  } catch (thrown) {
    if (thrown instanceof HelvinoError && thrown.code === 'STORAGE_DENIED') return undefined;
    throw thrown;
  }
}
