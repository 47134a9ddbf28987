/**
 * Why WAL is missing, kept where the WAL is: the stream knows it when it happens, and nobody later.
 * `wal/<database>/gaps/<timeline>-<from>-<to>` (`-not-archived` behind it for that reason), JSON in an envelope.
 */
import * as z from 'zod';
import type { Clock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import {
  type GapReason,
  gapReasons,
  gapsBetween,
  type LedgerGap,
  type LedgerRange,
  type RecordedGap,
} from '../../catalog/index.ts';
import { formatLsn, parseLsn, parseTimelineHistory, type TimelineSwitch } from '../../postgres/index.ts';
import { listLogFiles, logFiles, openLogFile, putLogFile, type Repository } from '../../repository/index.ts';

const lsn = z.string().transform(parseLsn);

const schema = z.object({
  reason: z.enum(gapReasons),
  timeline: z.number().int(),
  from: lsn,
  /** The timeline that the stream went on with. */
  toTimeline: z.number().int(),
  to: lsn,
  /** When it was found. */
  time: z.string(),
});

export const gapWords: Readonly<Record<GapReason | 'unknown', string>> = {
  'slot-lost': 'the slot had lost it: more WAL than max_slot_wal_keep_size was written while no stream ran',
  'slot-missing': 'the slot was not there, so the server did not keep it',
  'wal-removed': 'the server had removed it',
  'not-archived':
    'archive_command did not hand it over, only what is behind it: for a time it was off, another one, or said that it was done',
  damaged: 'what is stored is damaged: it came so from the server',
  unknown: 'nobody has recorded why; an object may have been removed',
};

/** Durable when it resolves. A gap that is recorded already stays as it is. */
export async function recordGap(repository: Repository, database: string, gap: RecordedGap): Promise<void> {
  const hex = (value: bigint | number, digits: number) =>
    value.toString(16).toUpperCase().padStart(digits, '0');
  // Only that the WAL did not come this way: who knows better later is to be heard.
  const suffix = gap.reason === 'not-archived' ? `-${gap.reason}` : '';
  const name = `${hex(gap.timeline, 8)}-${hex(gap.from, 16)}-${hex(gap.to, 16)}${suffix}`;
  const bytes = Buffer.from(JSON.stringify({ ...gap, from: formatLsn(gap.from), to: formatLsn(gap.to) }));
  await putLogFile(repository, { database, kind: 'gaps', name, bytes }).catch((thrown: unknown) => {
    if (!(thrown instanceof HelvinoError) || thrown.code !== 'WAL_CONFLICT') throw thrown;
  });
}

/** Recorded, and told with what to do. */
export async function tellMissing(
  { repository, database, clock, progress }: MissingContext,
  gap: Omit<RecordedGap, 'time'>,
): Promise<void> {
  await recordGap(repository, database, { ...gap, time: clock.now().toISOString() });
  progress.note(
    'warn',
    `WAL from ${formatLsn(gap.from)} to ${formatLsn(gap.to)} is missing (${gapWords[gap.reason]}): take a backup, which closes the gap`,
  );
}

interface MissingContext {
  readonly repository: Repository;
  readonly database: string;
  readonly clock: Clock;
  readonly progress: Progress;
}

/** What cannot be read says nothing: the gap itself is seen in the listing. */
export async function recordedGaps(repository: Repository, database: string): Promise<RecordedGap[]> {
  const gaps: RecordedGap[] = [];
  for await (const name of listLogFiles(repository.driver, database, 'gaps')) {
    const bytes = await openLogFile(repository, name).catch((thrown: unknown) => {
      if (thrown instanceof HelvinoError && thrown.code === 'REPOSITORY_DAMAGED') return undefined;
      throw thrown;
    });
    const gap = bytes && parsed(Buffer.from(bytes).toString());
    if (gap) gaps.push(gap);
  }
  return gaps;
}

/** Between what is stored, along the stored histories of timelines. */
export async function gapsAlong(
  repository: Repository,
  database: string,
  { ranges, recorded }: { ranges: readonly LedgerRange[]; recorded: readonly RecordedGap[] },
): Promise<LedgerGap[]> {
  const histories = new Map<number, TimelineSwitch[]>();
  for (const [name, bytes] of await logFiles(repository, database)) {
    const timeline = Number.parseInt(name.slice(0, 8), 16);
    if (timeline > 0) histories.set(timeline, parseTimelineHistory(bytes));
  }
  return gapsBetween(ranges, histories, recorded);
}

function parsed(text: string): RecordedGap | undefined {
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
