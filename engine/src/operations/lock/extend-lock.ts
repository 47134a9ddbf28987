/**
 * `helvino lock`: object lock over everything that the kept backups need, until retention would let each of them go. A backup
 * shares packs with others: each object is kept as long as the longest needs it. And over stored WAL (lock-log.ts). The lock never reaches further ahead than a
 * year and a month, and is extended by the next run: a rule that changes is not held up for longer.
 */
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import { type Repository, retainBackup } from '../../repository/index.ts';
import { planRetentionOf, type RetentionSettings } from '../retention/plan.ts';
import { type LockedLog, lockLog } from './lock-log.ts';

const dayMs = 86_400_000;
const furthestMs = 396 * dayMs;

export interface LockOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly settings: RetentionSettings;
  readonly dryRun: boolean;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface Locked {
  readonly backups: readonly LockedBackup[];
  readonly log: LockedLog;
}

interface LockedBackup {
  readonly id: string;
  readonly until: Date;
  /** How many objects it needs. */
  readonly objects: number;
}

/** Throws CONFIG_INVALID when the store keeps no retention. */
export async function extendLocks(options: LockOptions): Promise<Locked> {
  const { repository, database, progress, signal } = options;
  const { capabilities } = repository.driver;
  if (!capabilities.retention) {
    throw new HelvinoError('CONFIG_INVALID', `${capabilities.place} has no object lock`, {
      hint: 'set storage.objectLock in helvino.yaml; it needs a bucket on S3 that was made with object lock',
    });
  }
  const plan = await planRetentionOf(repository, database, options.settings);
  const furthest = new Date(plan.now.getTime() + furthestMs);
  const kept = plan.kinds
    .flatMap(({ decisions }) => decisions)
    .filter(({ action, reasons }) => action === 'keep' && !reasons.some(({ rule }) => rule === 'unreadable'));
  // WAL first: its locks are the shortest.
  const log = await lockLog(options, plan);
  progress.phase('extending object lock', kept.length, 'items');
  const locked: LockedBackup[] = [];
  for (const { id, until: goes } of kept) {
    signal.throwIfAborted();
    const until = goes !== undefined && goes < furthest ? goes : furthest;
    const manifest = await repository.manifest(database, id);
    const objects = options.dryRun
      ? manifest.packs.length
      : await retainBackup(repository.driver, manifest, until);
    locked.push({ id, until, objects });
    progress.advance(1);
  }
  return { backups: locked, log };
}
