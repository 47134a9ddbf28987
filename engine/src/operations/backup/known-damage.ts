/**
 * What verifications and drills have found of a backup since it was made. Damage stays known until a verification that reads
 * as much finds the backup good: one of the structure alone says nothing of a changed byte.
 */
import { HelvinoError } from '../../base/errors.ts';
import { formatTime } from '../../base/format.ts';
import type { Progress } from '../../base/progress.ts';
import {
  type ManifestSummary,
  type Repository,
  readVerification,
  verificationNames,
} from '../../repository/index.ts';
import type { DrillReport } from '../drill/report.ts';
import type { VerificationRecord } from '../verify/record.ts';

/** How much a verification reads: each finds what those before it find. */
const depths: readonly string[] = [
  'structure',
  'stored bytes',
  'every byte',
] satisfies VerificationRecord['depth'][];
const storedBytes = depths.indexOf('stored bytes');
/** Clocks of two hosts are apart by less. */
const clockSlackMs = 600_000;

interface Found {
  readonly by: 'verification' | 'drill';
  /** ISO 8601, UTC. */
  readonly on: string;
}

type Notes = Pick<Repository, 'driver' | 'ring' | 'proofs'>;
type Backup = Pick<ManifestSummary, 'database' | 'id' | 'started'>;

/** What was found and not refuted, in words; undefined when nothing is known. Throws only what keeps the store from being read. */
export async function knownDamage(
  repository: Notes,
  backup: Backup,
  progress: Progress,
): Promise<string | undefined> {
  const drilled = await damageInDrills(repository, backup, progress);
  const found = await damageInVerifications(repository, backup, { drilled, progress });
  return found && `the ${found.by} of ${formatTime(new Date(found.on))} found backup ${backup.id} damaged`;
}

/** `drilled`: what a drill found; refuted by a later verification of all that is stored. */
async function damageInVerifications(
  repository: Notes,
  backup: Backup,
  { drilled, progress }: { drilled: Found | undefined; progress: Progress },
): Promise<Found | undefined> {
  let left = drilled;
  // The deepest of those that found it good.
  let good = -1;
  for (const name of (await unlessUnreadable(namesSince(repository, backup), progress)) ?? []) {
    const read = readVerification(repository, name) as Promise<VerificationRecord>;
    const record = await unlessUnreadable(read, progress);
    const depth = depths.indexOf(record?.depth ?? '');
    if (!record || depth <= good) continue;
    if (record.damaged.includes(backup.id)) return { by: 'verification', on: record.finished };
    good = depth;
    if (left && depth >= storedBytes && record.finished > left.on) left = undefined;
    if (good === depths.length - 1) break;
  }
  return left;
}

/** Newest first: those that may have looked at the backup. Most often there is one, or none. */
async function namesSince(repository: Notes, { database, started }: Backup): Promise<string[]> {
  const since = new Date(Date.parse(started) - clockSlackMs).toISOString().replace(/[-:]|\.\d+/g, '');
  const names = await verificationNames(repository, database);
  return names.filter((name) => name.slice(name.lastIndexOf('/') + 1) >= since).reverse();
}

/** By the newest drill that came far enough to say something. */
async function damageInDrills(
  repository: Notes,
  { id }: Backup,
  progress: Progress,
): Promise<Found | undefined> {
  const proofs = (await unlessUnreadable(repository.proofs(id), progress)) ?? [];
  for (const { proof } of proofs.reverse()) {
    const { checks = [], finished } = proof as Partial<DrillReport>;
    // WAL that is stored besides the backup is no part of it.
    const damaged = checks.some((check) => check.damaged !== undefined && !check.damaged.startsWith('wal/'));
    if (damaged && finished !== undefined) return { by: 'drill', on: finished };
    if (checks.some(({ name, state }) => name === 'restore' && state === 'passed')) return undefined;
  }
  return undefined;
}

/** Of a note that only this user, or only this moment, cannot read: backups go on without it. */
const unreadable: readonly string[] = [
  'REPOSITORY_DAMAGED',
  'KEY_WRONG',
  'STORAGE_NOT_FOUND',
  'STORAGE_DENIED',
  'STORAGE_SHORT_READ',
  'STORAGE_ARCHIVED',
  'STORAGE_IO',
];

async function unlessUnreadable<T>(reading: Promise<T>, progress: Progress): Promise<T | undefined> {
  try {
    return await reading;
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError) || !unreadable.includes(thrown.code)) throw thrown;
    // Tidied away since it was listed.
    if (thrown.code !== 'STORAGE_NOT_FOUND')
      progress.note('warn', `what was found of earlier backups cannot all be read: ${thrown.message}`);
    return undefined;
  }
}
