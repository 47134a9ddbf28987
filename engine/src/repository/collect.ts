/**
 * Garbage collection: plan, then apply. Garbage is a pack that no manifest names: left by a run that did not commit, or by
 * backups that were removed. Two steps, so that a backup that runs meanwhile is safe on any store:
 *
 * 1. *Mark*: a pack that is garbage, older than every live lease and older than the grace time gets an object
 *    `trash/<pack>`.
 * 2. *Remove*: a marked pack is removed once the mark is older than the grace time, still nothing names it, and no lease
 *    that was live when it was marked is live now.
 *
 * A backup that reuses a pack either began before the mark (then its lease holds off the removal until it has committed
 * and the manifest names the pack), or after it (then it sees the mark when it commits, and does not commit).
 */
import { HelvinoError } from '../base/errors.ts';
import { NumberList } from '../base/number-list.ts';
import { NumberSet } from '../base/number-set.ts';
import type { StorageDriver } from '../storage/index.ts';
import { packName, packsPrefix, trashName, trashPrefix } from './layout.ts';
import { type LeaseFacts, liveLeases } from './lease.ts';
import { PackIds } from './pack-ids.ts';
import { PackList, type SizedPack } from './pack-list.ts';
import { putOnce } from './put-once.ts';
import type { Repository } from './repository.ts';
import { planSuperseded, removeSuperseded, type SupersededPart } from './superseded.ts';

/** Of packs there may be a million. */
export interface CollectPlan {
  /** Packs that are garbage and would be marked now. */
  readonly mark: PackList;
  /** Marked packs that would be removed now. */
  readonly remove: PackList;
  /** Garbage that has to wait, with the reason. */
  readonly wait: WaitingPacks;
  /** Marks of packs that are named again or gone. */
  readonly unmark: PackList;
  /** Parts of the log whose bytes a longer piece holds, too. */
  readonly parts: readonly SupersededPart[];
  readonly kept: { readonly packs: number; readonly bytes: number };
}

/** Throws REPOSITORY_DAMAGED when a manifest cannot be read: what it names is not known, so nothing may be removed. */
export async function planCollect(
  repository: Repository,
  options: { graceMs: number },
): Promise<CollectPlan> {
  const { driver } = repository;
  using seen = await lookAround(repository, options);
  const { marks, situation } = seen;
  const [mark, remove] = [new PackList(), new PackList()];
  const wait = new WaitingPacks(situation);
  const kept = { packs: 0, bytes: 0 };
  const rightlyMarked = new NumberSet();
  for await (const { pack, action, age, known } of judgePacks(driver, seen)) {
    if (known !== undefined) rightlyMarked.add(known);
    if (action === 'mark') mark.add(pack);
    else if (action === 'remove') remove.add(pack);
    else if (action === 'wait') wait.add(pack, age);
    else {
      kept.packs++;
      kept.bytes += pack.size;
    }
  }
  const unmark = marks.select((number) => !rightlyMarked.has(number));
  const parts = await planSuperseded(driver, situation);
  return { mark, remove, wait, unmark, parts, kept };
}

interface Situation {
  readonly leases: readonly LeaseFacts[];
  readonly now: number;
  readonly graceMs: number;
}

interface Seen extends Disposable {
  readonly situation: Situation;
  /** Packs that manifests name. */
  readonly named: PackIds;
  readonly marks: PackList;
}

/** Throws REPOSITORY_DAMAGED. */
async function lookAround(repository: Repository, { graceMs }: { graceMs: number }): Promise<Seen> {
  const { driver } = repository;
  const now = (await driver.now()).getTime();
  // Leases before manifests: a backup that commits in between is then seen by one or the other.
  const leases = await liveLeases(driver);
  await assertNothingLost(repository);
  const named = await namedPacks(repository);
  const marks = await readMarks(driver);
  return { situation: { leases, now, graceMs }, named, marks, [Symbol.dispose]: () => named.free() };
}

type Judged = { readonly pack: SizedPack; readonly age: Age; readonly known: number | undefined } & {
  readonly action: 'keep' | 'mark' | 'wait' | 'remove';
};

/** Every pack of the store. `known`: the number of its mark. */
async function* judgePacks(
  driver: StorageDriver,
  { situation, named, marks }: Seen,
): AsyncGenerator<Judged, void, void> {
  for await (const object of driver.list(packsPrefix)) {
    const pack = { id: object.name.split('/')[2] ?? '', size: object.size };
    const keep = named.has(pack.id);
    const known = keep ? undefined : marks.numberOf(pack.id);
    const from = known === undefined ? object.modified.getTime() : marks.sizeOf(known);
    const age = { from, marked: known !== undefined };
    const waits = !keep && reasonToWait(situation, age) !== undefined;
    yield { pack, age, known, action: keep ? 'keep' : waits ? 'wait' : age.marked ? 'remove' : 'mark' };
  }
}

interface Age {
  /** When it was marked or else written; milliseconds. */
  readonly from: number;
  readonly marked: boolean;
}

/** The reason of each is put into words when it is asked for. */
class WaitingPacks implements Iterable<SizedPack & { readonly reason: string }> {
  readonly #situation: Situation;
  readonly #packs = new PackList();
  readonly #ages = new NumberList();
  readonly #marked = new NumberSet();

  constructor(situation: Situation) {
    this.#situation = situation;
  }

  get length(): number {
    return this.#packs.length;
  }

  add(pack: SizedPack, { from, marked }: Age): void {
    const number = this.#packs.add(pack);
    this.#ages.set(number, from);
    if (marked) this.#marked.add(number);
  }

  *[Symbol.iterator](): Generator<SizedPack & { readonly reason: string }, void, void> {
    for (let number = 0; number < this.length; number++) {
      const age = { from: this.#ages.at(number), marked: this.#marked.has(number) };
      const reason = reasonToWait(this.#situation, age);
      yield { ...this.#packs.at(number), reason: reason ?? '' };
    }
  }

  toJSON(): unknown[] {
    return [...this];
  }
}

/** Undefined: it need not wait. */
function reasonToWait({ leases, now, graceMs }: Situation, { from, marked }: Age): string | undefined {
  const holder = leases.find((lease) => lease.began.getTime() <= from + 1000);
  if (holder) return `run ${holder.run} (${holder.kind}) is alive since ${holder.began.toISOString()}`;
  const left = graceMs - (now - from);
  if (left <= 0) return undefined;
  return `${marked ? 'marked' : 'written'} less than the grace time ago (${Math.ceil(left / 1000)} s left)`;
}

/** What a lost manifest named is not known, and it may be brought back: nothing may be removed meanwhile. */
async function assertNothingLost(repository: Repository): Promise<void> {
  const [lost] = await repository.lostBackups();
  if (!lost) return;
  throw new HelvinoError(
    'REPOSITORY_DAMAGED',
    `the manifest of backup ${lost.id} of ${lost.database} is missing: what it names is not known`,
    {
      hint: `copy backups/${lost.database}/${lost.id} back from another copy, or give the backup up: helvino remove ${lost.id}`,
      context: { object: `backups/${lost.database}/${lost.id}` },
    },
  );
}

/** Applies a plan; what is no longer true of it is left for the next. Returns what was done. */
export async function applyCollect(
  repository: Repository,
  plan: CollectPlan,
  options: { graceMs: number },
): Promise<{ marked: number; removed: PackList; parts: SupersededPart[] }> {
  const { driver } = repository;
  for (const { id } of plan.unmark) await driver.remove(trashName(id));
  for (const pack of plan.mark) await putOnce(driver, trashName(pack.id), []);
  await liveLeases(driver, { removeDead: true });
  // Once more: with no grace time what was just marked can go at once, and a commit since the first plan is seen.
  const goes = await removableNow(repository, plan, options);
  for (const { id } of goes) {
    // The pack before its mark: a mark without a pack is harmless, a pack without a mark would only wait again.
    await driver.remove(packName(id));
    await driver.remove(trashName(id));
  }
  return { marked: plan.mark.length, removed: goes, parts: await removeSuperseded(repository, plan.parts) };
}

/** Of what is in the plan. */
async function removableNow(
  repository: Repository,
  plan: CollectPlan,
  options: { graceMs: number },
): Promise<PackList> {
  using seen = await lookAround(repository, options);
  const removable = new PackList();
  for await (const { pack, action } of judgePacks(repository.driver, seen)) {
    const planned = plan.mark.numberOf(pack.id) ?? plan.remove.numberOf(pack.id);
    if (action === 'remove' && planned !== undefined) removable.add(pack);
  }
  return removable;
}

async function namedPacks(repository: Repository): Promise<PackIds> {
  const named = new PackIds();
  for (const backup of await repository.backups()) {
    try {
      await repository.summary(backup.database, backup.id, ({ id }) => named.numberOf(id));
    } catch (thrown) {
      // Removed since it was listed.
      if (!(thrown instanceof HelvinoError && thrown.code === 'BACKUP_NOT_FOUND')) throw thrown;
    }
  }
  return named;
}

/** Packs that are marked; as size since when, in milliseconds. */
export async function readMarks(driver: StorageDriver): Promise<PackList> {
  const marks = new PackList();
  for await (const { name, modified } of driver.list(trashPrefix))
    marks.add({ id: name.slice(trashPrefix.length), size: modified.getTime() });
  return marks;
}
