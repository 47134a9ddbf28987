/** Gaps in a log, with the reason where it is known. Pure. */
import { type LedgerRange, outside } from './log-ledger.ts';

/**
 * `slot-lost`: the server removed WAL that the slot should have kept (max_slot_wal_keep_size). `slot-missing`: the slot was
 * not there when the stream came. `wal-removed`: the server no longer had the WAL for another reason. `not-archived`: archive_command
 * handed over what is behind it, and not this. `damaged`: it is stored,
 * but a record in it is damaged, and no recovery goes beyond that.
 */
export const gapReasons = ['slot-lost', 'slot-missing', 'wal-removed', 'not-archived', 'damaged'] as const;
export type GapReason = (typeof gapReasons)[number];

/** As the stream found it: it may begin on one timeline and end on a later one. */
export interface RecordedGap {
  readonly reason: GapReason;
  readonly timeline: number;
  readonly from: bigint;
  readonly toTimeline: number;
  readonly to: bigint;
  /** ISO 8601. */
  readonly time: string;
}

export interface LedgerGap {
  readonly line: number;
  readonly begin: bigint;
  readonly end: bigint;
  readonly reason: GapReason | 'unknown';
  /** When it was found; undefined when nobody has said why. */
  readonly time: string | undefined;
}

/** What recovery can use of what is stored without a gap. */
export function withoutDamage(
  ranges: readonly LedgerRange[],
  recorded: readonly RecordedGap[],
): LedgerRange[] {
  let sound = [...ranges];
  for (const { reason, timeline, from, to } of recorded)
    if (reason === 'damaged')
      sound = sound.flatMap((range) =>
        range.line === timeline ? outside(range, { begin: from, end: to }) : [range],
      );
  return sound;
}

/** Damage behind which nothing sound of its timeline is stored; `ends`: how far each is stored. */
export function damagedEnds(
  sound: readonly LedgerRange[],
  recorded: readonly RecordedGap[],
  ends: ReadonlyMap<number, bigint>,
): LedgerGap[] {
  const gaps: LedgerGap[] = [];
  for (const { reason, timeline: line, from, to, time } of recorded) {
    const end = ends.get(line);
    if (reason !== 'damaged' || end === undefined || end <= from) continue;
    if (sound.some((range) => range.line === line && range.begin >= from)) continue;
    gaps.push({ line, begin: from, end: to, reason, time });
  }
  return gaps;
}

/** `history`: for each timeline that has one, which it left and where, oldest first. */
export function gapsBetween(
  ranges: readonly LedgerRange[],
  history: ReadonlyMap<number, readonly { timeline: number; switchLsn: bigint }[]>,
  recorded: readonly RecordedGap[],
): LedgerGap[] {
  const holes: { line: number; begin: bigint; end: bigint }[] = [];
  const lines = [...new Set(ranges.map((range) => range.line))];
  for (const line of lines) {
    const own = ranges.filter((range) => range.line === line);
    const before = history.get(line)?.at(-1);
    if (before) holes.push(...aroundSwitch(ranges, own[0]!, before));
    for (const [i, range] of own.entries()) {
      const next = own[i + 1];
      if (next) holes.push({ line, begin: range.end, end: next.begin });
    }
  }
  return holes
    .sort((a, b) => a.line - b.line || (a.begin < b.begin ? -1 : 1))
    .map((hole) => ({ ...hole, ...reasonOf(hole, recorded) }));
}

/** Where a timeline was left for another: what is missing of the one before it, and of the other after it. */
function aroundSwitch(
  ranges: readonly LedgerRange[],
  first: LedgerRange,
  { timeline, switchLsn }: { timeline: number; switchLsn: bigint },
): { line: number; begin: bigint; end: bigint }[] {
  const holes: { line: number; begin: bigint; end: bigint }[] = [];
  const last = ranges.findLast((range) => range.line === timeline && range.begin <= switchLsn);
  if (last && last.end < switchLsn) holes.push({ line: timeline, begin: last.end, end: switchLsn });
  if (last && first.begin > switchLsn) holes.push({ line: first.line, begin: switchLsn, end: first.begin });
  return holes;
}

function reasonOf(
  hole: { line: number; begin: bigint; end: bigint },
  recorded: readonly RecordedGap[],
): { reason: LedgerGap['reason']; time: string | undefined } {
  const fits = recorded.filter(
    (gap) =>
      gap.timeline <= hole.line &&
      hole.line <= gap.toTimeline &&
      (gap.timeline < hole.line || gap.from < hole.end) &&
      (hole.line < gap.toTimeline || hole.begin < gap.to),
  );
  const newest = fits.sort((a, b) => (a.time < b.time ? -1 : 1)).at(-1);
  return { reason: newest?.reason ?? 'unknown', time: newest?.time };
}
