/**
 * Applies a retention plan that was shown. The plan is made again first and must be the same. Order: backups, oldest first
 * (each ledger, manifest, proofs: see Repository.remove), then WAL that only they needed, then garbage. A stop at any
 * point leaves every kept backup whole, and the rest for the next run.
 */
import { HelvinoError, interrupted } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import {
  applyCollect,
  assertNotHeld,
  type LogPieces,
  noteRemovedLog,
  planCollect,
  type Repository,
  removeOldRuns,
  removeOldVerifications,
} from '../../repository/index.ts';
import { mapParallel } from '../../streams/index.ts';
import type { OtherCopy } from './enough-copies.ts';
import { planRetentionOf, type RetentionPlan, type RetentionSettings } from './plan.ts';
import { removeStaleNotes } from './stale-notes.ts';

export interface ApplyRetentionOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly settings: RetentionSettings;
  /** The further copies of the repository. */
  readonly others: readonly OtherCopy[];
  /** `id` of the plan that was shown. */
  readonly planId: string;
  /** See repository/collect.ts. */
  readonly graceMs: number;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface AppliedRetention {
  readonly plan: RetentionPlan;
  readonly removed: readonly string[];
  /** What could not be removed now: in use, held since, or locked by the store. */
  readonly skipped: readonly { readonly id: string; readonly why: string }[];
  /** Pieces of WAL. */
  readonly logRemoved: number;
  /** Packs that were removed now, and that wait for the grace time. */
  readonly packs: { readonly removed: number; readonly bytes: number; readonly waiting: number };
}

const parallel = 8;
const keptVerifications = 100;
const keptRuns = 100;

/** Throws PLAN_CHANGED, REPOSITORY_DAMAGED; STORAGE_DENIED where packs are locked. */
export async function applyRetention(options: ApplyRetentionOptions): Promise<AppliedRetention> {
  const { repository, database, progress, signal } = options;
  progress.phase('planning again');
  const plan = await planRetentionOf(repository, database, options.settings, options.others);
  if (plan.id !== options.planId) throw changed(plan, options.planId);
  const ids = plan.kinds.flatMap(({ decisions }) =>
    decisions.filter(({ action }) => action === 'remove').map(({ id }) => id),
  );
  const removed: string[] = [];
  const skipped: { id: string; why: string }[] = [];
  progress.phase('removing backups', ids.length, 'items');
  for (const id of ids.sort()) {
    if (signal.aborted) throw interrupted(signal);
    const why = await removeOne(repository, database, id);
    if (why === undefined) removed.push(id);
    else skipped.push({ id, why });
    progress.advance(1);
  }
  const log = await removeLog(options, plan.log.remove);
  await removeStaleNotes(repository, database);
  await repository.removeOrphanProofs();
  await removeOldVerifications(repository, { database, keep: keptVerifications });
  await removeOldRuns(repository, { database, keep: keptRuns });
  progress.phase('looking for garbage');
  const garbage = await planCollect(repository, options);
  const collected = await applyCollect(repository, garbage, options);
  return {
    plan,
    removed,
    skipped: log.locked === undefined ? skipped : [...skipped, { id: 'WAL', why: log.locked }],
    logRemoved: log.removed,
    packs: {
      removed: collected.removed.length,
      bytes: collected.removed.bytes,
      waiting: garbage.wait.length + garbage.mark.length + garbage.remove.length - collected.removed.length,
    },
  };
}

/** Oldest first. Pieces that the store keeps locked end it: those after them are locked for longer. */
async function removeLog(
  { repository, database, progress, signal }: ApplyRetentionOptions,
  pieces: LogPieces,
): Promise<{ removed: number; locked: string | undefined }> {
  progress.phase('removing WAL', pieces.length, 'items');
  let removed = 0;
  try {
    await noteRemovedLog(repository.driver, database, pieces);
    for await (const _ of mapParallel(pieces, parallel, ({ name }) => repository.driver.remove(name))) {
      if (signal.aborted) throw interrupted(signal);
      removed++;
      progress.advance(1);
    }
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError) || thrown.code !== 'STORAGE_DENIED') throw thrown;
    return { removed, locked: thrown.message };
  }
  return { removed, locked: undefined };
}

/** Undefined when it is gone. */
async function removeOne(repository: Repository, database: string, id: string): Promise<string | undefined> {
  try {
    await assertNotHeld(repository, { database, id, pinsToo: true });
    await repository.remove(database, id);
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError)) throw thrown;
    if (['REPOSITORY_BUSY', 'BACKUP_HELD', 'STORAGE_DENIED'].includes(thrown.code)) return thrown.message;
    if (thrown.code !== 'BACKUP_NOT_FOUND') throw thrown;
  }
  return undefined;
}

function changed(plan: RetentionPlan, shown: string): HelvinoError {
  return new HelvinoError(
    'PLAN_CHANGED',
    `plan ${shown} is not what would be done now: backups, WAL, holds or the day have changed since; the plan is now ${plan.id}`,
    { hint: 'look again: helvino retention preview', context: { shown, now: plan.id } },
  );
}
