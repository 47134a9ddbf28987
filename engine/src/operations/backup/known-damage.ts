/**
 * What verifications and drills have found of a backup since it was made, or of one on which it builds while that was going on.
 * Damage stays known until a verification that reads as much finds the backup good: one of the structure alone says nothing
 * of a changed byte, and one that began before the backup was there nothing at all.
 */
import { HelvinoError } from '../../base/errors.ts';
import { formatTime } from '../../base/format.ts';
import { idStamp } from '../../base/ids.ts';
import type { Progress } from '../../base/progress.ts';
import {
  type ManifestSummary,
  proofsPrefix,
  type Repository,
  readVerification,
  verificationNames,
} from '../../repository/index.ts';
import type { DrillReport } from '../drill/report.ts';
import { isDamage } from '../stored-damage.ts';
import { newestKept, type VerificationRecord } from '../verify/record.ts';

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
  /** It, or one on which it builds. */
  readonly backup: string;
  readonly by: 'verification' | 'drill';
  /** ISO 8601, UTC. */
  readonly on: string;
}

type Notes = Pick<Repository, 'driver' | 'ring' | 'proofs' | 'summary'>;
type Backup = Pick<ManifestSummary, 'database' | 'id' | 'started'>;

/** What was found and not refuted, in words; undefined when nothing is known. Throws only what keeps the store from being read. */
export async function knownDamage(
  repository: Notes,
  backup: Backup,
  progress: Progress,
): Promise<string | undefined> {
  const drilled = await damageInDrills(repository, backup, progress);
  const found = await damageInVerifications(repository, backup, { drilled, progress });
  if (!found) return undefined;
  const builds = found.backup === backup.id ? '' : `, on which ${backup.id} builds`;
  return `the ${found.by} of ${formatTime(new Date(found.on))} found backup ${found.backup} damaged${builds}`;
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
  const newer: VerificationRecord[] = [];
  for (const name of (await unlessUnreadable(namesSince(repository, backup), progress)) ?? []) {
    const read = readVerification(repository, name) as Promise<VerificationRecord>;
    const record = await unlessUnreadable(read, progress);
    const depth = depths.indexOf(record?.depth ?? '');
    if (!record || depth <= good) continue;
    const covers = hasSeen(record, backup.id);
    const standing = record.damaged.filter((one) => !newer.some((other) => refutes(other, one, depth)));
    const damaged = covers
      ? standing.find((one) => one === backup.id)
      : await parentIn(repository, backup, standing);
    if (damaged !== undefined) return { backup: damaged, by: 'verification', on: record.finished };
    newer.push(record);
    if (left && refutes(record, left.backup, storedBytes) && record.finished > left.on) left = undefined;
    if (covers) good = depth;
    if (good === depths.length - 1) break;
  }
  return left;
}

/** Whether a record finds a backup good that an older one, or a drill, found damaged by reading so much. */
function refutes(record: VerificationRecord, id: string, depth: number): boolean {
  return depths.indexOf(record.depth) >= depth && hasSeen(record, id) && !record.damaged.includes(id);
}

/** False: the backup came while it was verifying. Records of earlier versions do not say what they have seen. */
function hasSeen({ newest }: VerificationRecord, id: string): boolean {
  if (newest === undefined || newest.includes(id)) return true;
  return newest.length === newestKept && id < newest[0]!;
}

/** The nearest backup on which it builds, however far back, that is one of these. */
async function parentIn(
  repository: Notes,
  { database, id }: Backup,
  wanted: readonly string[],
): Promise<string | undefined> {
  const [oldest] = wanted.filter((one) => one < id).sort();
  for (let at: string | undefined = id; oldest !== undefined && at !== undefined && at > oldest; ) {
    // Of one that is not there any more, or not good, the next is not known.
    const summary: ManifestSummary | undefined = await repository.summary(database, at).catch(unlessLost);
    at = summary?.parent;
    if (at !== undefined && wanted.includes(at)) return at;
  }
  return undefined;
}

function unlessLost(thrown: unknown): undefined {
  if (isDamage(thrown) || (thrown instanceof HelvinoError && thrown.code === 'BACKUP_NOT_FOUND')) return;
  throw thrown;
}

/** Newest first: those that may have looked at the backup. Most often there is one, or none. */
async function namesSince(repository: Notes, { database, started }: Backup): Promise<string[]> {
  const since = idStamp(new Date(Date.parse(started) - clockSlackMs));
  const names = await verificationNames(repository, database);
  return names.filter((name) => name.slice(name.lastIndexOf('/') + 1) >= since).reverse();
}

/** By the newest drill of it that came far enough to say something; without one, of a backup on which it builds. */
async function damageInDrills(
  repository: Notes,
  backup: Backup,
  progress: Progress,
): Promise<Found | undefined> {
  const own = await drillOf(repository, backup.id, progress);
  if (own !== undefined) return own === 'good' ? undefined : own;
  const found = new Map<string, Found>();
  const began = Date.parse(backup.started) - clockSlackMs;
  for (const id of (await unlessUnreadable(drilledMeanwhile(repository, backup), progress)) ?? []) {
    const said = await drillOf(repository, id, progress);
    // What had ended before was known when this one was begun.
    if (said !== undefined && said !== 'good' && Date.parse(said.on) > began) found.set(id, said);
  }
  const parent = await parentIn(repository, backup, [...found.keys()]);
  return parent === undefined ? undefined : found.get(parent);
}

/** Older backups of which a drill may have ended after this one began: those of a day before. */
async function drilledMeanwhile({ driver }: Notes, { id, started }: Backup): Promise<Set<string>> {
  const since = idStamp(new Date(Date.parse(started) - 86_400_000));
  const drilled = new Set<string>();
  for await (const { name } of driver.list(proofsPrefix)) {
    const [, backup, drill] = name.split('/') as [string, string, string];
    if (backup < id && drill >= since) drilled.add(backup);
  }
  return drilled;
}

/** What the newest that came far enough says. */
async function drillOf(
  repository: Notes,
  id: string,
  progress: Progress,
): Promise<Found | 'good' | undefined> {
  const proofs = (await unlessUnreadable(repository.proofs(id), progress)) ?? [];
  for (const { proof } of proofs.reverse()) {
    const { checks = [], finished } = proof as Partial<DrillReport>;
    // WAL that is stored besides the backup is no part of it.
    const damaged = checks.some((check) => check.damaged !== undefined && !check.damaged.startsWith('wal/'));
    if (damaged && finished !== undefined) return { backup: id, by: 'drill', on: finished };
    if (checks.some(({ name, state }) => name === 'restore' && state === 'passed')) return 'good';
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
