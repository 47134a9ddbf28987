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
import type { StorageDriver } from '../storage/index.ts';
import { packName, packsPrefix, trashName, trashPrefix } from './layout.ts';
import { type LeaseFacts, liveLeases } from './lease.ts';
import { PackIds } from './pack-ids.ts';
import type { Repository } from './repository.ts';
import { planSuperseded, removeSuperseded, type SupersededPart } from './superseded.ts';

export interface CollectPlan {
  /** Packs that are garbage and would be marked now. */
  readonly mark: readonly PlannedPack[];
  /** Marked packs that would be removed now. */
  readonly remove: readonly PlannedPack[];
  /** Garbage that has to wait, with the reason. */
  readonly wait: readonly (PlannedPack & { readonly reason: string })[];
  /** Marks of packs that are named again or gone. */
  readonly unmark: readonly string[];
  /** Parts of the log whose bytes a longer piece holds, too. */
  readonly parts: readonly SupersededPart[];
  readonly kept: { readonly packs: number; readonly bytes: number };
}

export interface PlannedPack {
  readonly id: string;
  readonly size: number;
}

/** Throws REPOSITORY_DAMAGED when a manifest cannot be read: what it names is not known, so nothing may be removed. */
export async function planCollect(
  repository: Repository,
  options: { graceMs: number },
): Promise<CollectPlan> {
  const { driver } = repository;
  const now = (await driver.now()).getTime();
  // Leases before manifests: a backup that commits in between is then seen by one or the other.
  const leases = await liveLeases(driver);
  await assertNothingLost(repository);
  const named = await namedPacks(repository);
  const marks = await readMarks(driver);
  const plan = {
    mark: [] as PlannedPack[],
    remove: [] as PlannedPack[],
    wait: [] as (PlannedPack & { reason: string })[],
  };
  const kept = { packs: 0, bytes: 0 };
  const unmark = new Set(marks.keys());
  for await (const object of driver.list(packsPrefix)) {
    const pack = { id: object.name.split('/')[2] ?? '', size: object.size };
    if (named.has(pack.id)) {
      kept.packs++;
      kept.bytes += pack.size;
      continue;
    }
    unmark.delete(pack.id);
    const since = marks.get(pack.id);
    const reason = reasonToWait({ since, modified: object.modified, leases, now, graceMs: options.graceMs });
    if (reason !== undefined) plan.wait.push({ ...pack, reason });
    else if (since === undefined) plan.mark.push(pack);
    else plan.remove.push(pack);
  }
  const parts = await planSuperseded(driver, { now, graceMs: options.graceMs });
  return { ...plan, unmark: [...unmark], parts, kept };
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

function reasonToWait(facts: {
  since: Date | undefined;
  modified: Date;
  leases: readonly LeaseFacts[];
  now: number;
  graceMs: number;
}): string | undefined {
  const { since, leases, now, graceMs } = facts;
  const from = since ?? facts.modified;
  const holder = leases.find((lease) => lease.began.getTime() <= from.getTime() + 1000);
  if (holder) return `run ${holder.run} (${holder.kind}) is alive since ${holder.began.toISOString()}`;
  const left = graceMs - (now - from.getTime());
  if (left > 0)
    return `${since ? 'marked' : 'written'} less than the grace time ago (${Math.ceil(left / 1000)} s left)`;
  return undefined;
}

/** Applies a plan; what is no longer true of it is left for the next. Returns what was done. */
export async function applyCollect(
  repository: Repository,
  plan: CollectPlan,
  options: { graceMs: number },
): Promise<{ marked: number; removed: PlannedPack[]; parts: SupersededPart[] }> {
  const { driver } = repository;
  for (const id of plan.unmark) await driver.remove(trashName(id));
  for (const pack of plan.mark) await putMark(driver, pack.id);
  await liveLeases(driver, { removeDead: true });
  // Plan again: with no grace time what was just marked can go at once, and a commit since the first plan is seen.
  const fresh = await planCollect(repository, options);
  const planned = new Set([...plan.mark, ...plan.remove].map((pack) => pack.id));
  const removed = fresh.remove.filter((pack) => planned.has(pack.id));
  for (const pack of removed) {
    // The pack before its mark: a mark without a pack is harmless, a pack without a mark would only wait again.
    await driver.remove(packName(pack.id));
    await driver.remove(trashName(pack.id));
  }
  return { marked: plan.mark.length, removed, parts: await removeSuperseded(repository, plan.parts) };
}

async function putMark(driver: StorageDriver, packId: string): Promise<void> {
  try {
    await driver.put(trashName(packId), [], { ifAbsent: true });
  } catch (thrown) {
    // Marked by another collection.
    if (!(thrown instanceof HelvinoError && thrown.code === 'STORAGE_EXISTS')) throw thrown;
  }
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

/** Pack ids that are marked, and since when. */
export async function readMarks(driver: StorageDriver): Promise<Map<string, Date>> {
  const marks = new Map<string, Date>();
  for await (const object of driver.list(trashPrefix))
    marks.set(object.name.slice(trashPrefix.length), object.modified);
  return marks;
}
