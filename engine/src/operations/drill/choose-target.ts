/** From the target of a plan to a backup and the position that is recovered to. */
import { randomInt } from 'node:crypto';
import { HelvinoError } from '../../base/errors.ts';
import { type BackupFacts, backupFacts, physicalFacts } from '../../catalog/index.ts';
import { formatLsn, parseLsn } from '../../postgres/index.ts';
import type { Identities, Manifest, Repository } from '../../repository/index.ts';
import { findRecovery, needsLog, type Recovery } from '../restore/find-recovery.ts';
import { newestCommit } from '../restore/resolve-target.ts';
import { parseTarget, type RecoveryTarget } from '../restore/target-words.ts';
import { walStatus } from '../wal/status.ts';
import type { DrillTarget } from './report.ts';

export interface TargetInput {
  readonly repository: Repository;
  readonly identities: Identities;
  readonly database: string;
  /** `latest`, `newest`, `random`, `backup`, or what `restore --to` takes. */
  readonly asked: string;
  /** For `random`: how far back. */
  readonly windowSeconds: number;
  readonly now: Date;
  readonly signal: AbortSignal;
}

export interface ChosenTarget {
  readonly manifest: Manifest;
  /** Undefined: the end of the backup. */
  readonly recovery: Recovery | undefined;
  readonly target: DrillTarget;
  /** The moment that should be recovered; undefined: that of the drill. */
  readonly wanted: Date | undefined;
}

/** Throws BACKUP_NOT_FOUND, TARGET_UNREACHABLE, USAGE. */
export async function chooseTarget(input: TargetInput): Promise<ChosenTarget> {
  const { asked, now } = input;
  if (asked === 'random') return random(input);
  if (asked === 'newest') return newest(input);
  const target = parseTarget(asked, now);
  if (target.kind !== 'backup') return recoverTo(input, target);
  const manifest = await newestPhysical(input);
  return ofBackup(manifest, asked);
}

export async function newestPhysical({ repository, database }: TargetInput): Promise<Manifest> {
  for (const { id } of (await repository.backups(database)).reverse()) {
    const manifest = await repository.manifest(database, id);
    if (physicalFacts(manifest)) return manifest;
  }
  throw new HelvinoError('BACKUP_NOT_FOUND', `there is no physical backup of ${database}`, {
    hint: 'take one with `helvino backup`; or give the plan another `kind`',
  });
}

function ofBackup(manifest: Manifest, asked: string): ChosenTarget {
  const { walEnd, timeline, ended } = backupFacts(manifest);
  return {
    manifest,
    recovery: undefined,
    target: { asked, kind: 'backup', lsn: walEnd, timeline, time: ended },
    wanted: undefined,
  };
}

async function recoverTo(
  input: TargetInput,
  target: Exclude<RecoveryTarget, { kind: 'backup' }>,
): Promise<ChosenTarget> {
  const recovery = await findRecovery({ ...input, target });
  const { manifest, end, path } = recovery.target;
  const time = target.kind === 'time' ? new Date(Number(target.time / 1000n)) : undefined;
  return {
    manifest,
    recovery,
    target: {
      asked: input.asked,
      kind: target.kind,
      lsn: formatLsn(end),
      timeline: path.at(-1)?.timeline,
      time: time?.toISOString(),
      xid: target.kind === 'xid' ? String(target.xid) : undefined,
    },
    wanted: time,
  };
}

/** What only whole segments lead to: as an archive without streaming would have it. */
async function newest(input: TargetInput): Promise<ChosenTarget> {
  const latest = await findRecovery({ ...input, target: { kind: 'latest' } });
  const { manifest, end } = latest.target;
  const { walSegmentSize } = backupFacts(manifest);
  const boundary = end - (end % BigInt(walSegmentSize));
  if (!needsLog(latest) || boundary <= parseLsn(backupFacts(manifest).walEnd))
    return ofBackup(manifest, input.asked);
  return recoverTo(input, { kind: 'lsn', lsn: formatLsn(boundary) });
}

/** Any millisecond from the end of the oldest backup of the window to the newest transaction that is stored. */
async function random(input: TargetInput): Promise<ChosenTarget> {
  const latest = await findRecovery({ ...input, target: { kind: 'latest' } });
  const until = await newestCommit(latest.log, latest.target, input.signal);
  const from = await windowBegin(input, latest.target.end);
  const last = until === undefined ? 0 : Number(until / 1000n) - 1;
  // Nothing was committed after the backup: its end is the one moment there is.
  if (last <= from) return ofBackup(latest.target.manifest, input.asked);
  const time = from + 1 + randomInt(Math.min(last - from, 2 ** 47));
  return recoverTo(input, { kind: 'time', time: BigInt(time) * 1000n });
}

/**
 * Milliseconds since 1970: where the window begins, or the oldest backup in it ends from which stored WAL leads to `end`. What
 * lies before a gap, or has lost its WAL to retention, is nothing that was promised.
 */
async function windowBegin(
  { repository, database, now, windowSeconds }: TargetInput,
  end: bigint,
): Promise<number> {
  const begin = now.getTime() - windowSeconds * 1000;
  let first = Number.POSITIVE_INFINITY;
  const { windows } = await walStatus(repository, database);
  for (const { backup, to } of windows) {
    if (parseLsn(to) < end) continue;
    const manifest = await repository.manifest(database, backup);
    first = Math.min(first, endTime(backupFacts(manifest), manifest));
  }
  return Math.max(begin, first);
}

function endTime({ ended }: BackupFacts, { finished }: Manifest): number {
  return Date.parse(ended ?? finished);
}
