/** Which stored indexes cover which WAL, and what no index covers. Pure. */
import { continuousRanges, fewestPieces, type LedgerRange, outside } from '../../catalog/index.ts';
import type { LogIndex, LogNote, LogPiece } from '../../repository/index.ts';

export type SearchStep =
  | {
      readonly kind: 'index';
      readonly line: number;
      readonly begin: bigint;
      readonly end: bigint;
      /** May be another line's, which knows more than is asked for. */
      readonly note: LogNote;
    }
  | { readonly kind: 'wal'; readonly line: number; readonly begin: bigint; readonly end: bigint };

/** Another line that holds the same WAL before they parted: the first segment of a timeline begins with what its parent's has. */
export interface Kin {
  readonly line: number;
  readonly until: bigint;
}

interface Stored {
  readonly notes: Pick<LogIndex, 'select'>;
  readonly pieces: Iterable<LogPiece>;
  readonly kin?: readonly Kin[];
}

/** At the end of what is stored: less than a record's header is no record yet. Between two indexes a record may begin in less. */
const shortestEnd = 24n;

/** Newest first. Made as they are asked for: there may be as many as segments of WAL. */
export function* searchPlan(line: number, stored: Stored): Generator<SearchStep, void, void> {
  const own = notesOf(line, stored);
  const ranges = continuousRanges(ofLine(stored.pieces, line));
  const gaps = gapsIn(ranges, continuousRanges(own)).reverse();
  for (const note of fewestOf(own).reversed()) {
    const { begin, end } = note;
    while (gaps[0] !== undefined && gaps[0].begin >= begin) yield* filled(gaps.shift()!, ranges, stored);
    yield { kind: 'index', line, begin, end, note };
  }
  for (const gap of gaps) yield* filled(gap, ranges, stored);
}

/** The part of a plan that is before a position. */
export function* planUntil(plan: Iterable<SearchStep>, position: bigint): Generator<SearchStep, void, void> {
  for (const step of plan) if (step.begin < position) yield { ...step, end: least(step.end, position) };
}

/** Plans of lines that hold the same WAL, as one: newest first, where they overlap what leads further first. */
export function* mergedPlan(plans: readonly Iterable<SearchStep>[]): Generator<SearchStep, void, void> {
  const rest = plans.map((plan) => plan[Symbol.iterator]());
  const heads = rest.map((plan) => plan.next().value || undefined);
  for (;;) {
    let newest: number | undefined;
    for (const [i, head] of heads.entries())
      if (head && (newest === undefined || head.end > heads[newest]!.end)) newest = i;
    if (newest === undefined) return;
    yield heads[newest]!;
    heads[newest] = rest[newest]!.next().value || undefined;
  }
}

/** What has no index of its own line may have one of a line that shares it; or be searched, or missed, as an older line's. */
function filled(gap: LedgerRange, ranges: readonly LedgerRange[], stored: Stored): SearchStep[] {
  const { line } = gap;
  const steps: SearchStep[] = [];
  let rest: readonly LedgerRange[] = [gap];
  for (const kin of stored.kin ?? []) {
    if (kin.until <= gap.begin) continue;
    for (const note of fewestOf(notesOf(kin.line, stored))) {
      const part = inBoth({ ...note, line }, { ...gap, end: least(gap.end, kin.until) });
      if (!rest.some((one) => one.begin < part.end && part.begin < one.end)) continue;
      steps.push({ kind: 'index', ...part, note });
      rest = without(rest, part);
    }
    if (kin.line > line) continue;
    for (const range of continuousRanges(ofLine(stored.pieces, kin.line)))
      rest = without(rest, { ...range, end: least(range.end, kin.until) });
  }
  const isNone = ({ begin, end }: LedgerRange) =>
    end - begin <= shortestEnd && begin > gap.begin && ranges.some((range) => range.end === end);
  for (const part of rest) if (!isNone(part)) steps.push({ kind: 'wal', ...part });
  return steps.sort((a, b) => (a.begin < b.begin ? 1 : -1));
}

function inBoth({ line, begin, end }: LedgerRange, other: LedgerRange): LedgerRange {
  return { line, begin: begin > other.begin ? begin : other.begin, end: least(end, other.end) };
}

function without(ranges: readonly LedgerRange[], part: Omit<LedgerRange, 'line'>): readonly LedgerRange[] {
  return part.begin < part.end ? ranges.flatMap((range) => outside(range, part)) : ranges;
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function notesOf(line: number, { notes }: Stored): LogIndex {
  return notes.select((note) => note.line === line && note.begin < note.end);
}

/** The fewest that cover the same. */
function fewestOf(own: LogIndex): LogIndex {
  const fewest = fewestPieces(own);
  let next = fewest.next();
  return own.select((note) => {
    if (next.done || next.value.begin !== note.begin || next.value.end !== note.end) return false;
    next = fewest.next();
    return true;
  });
}

/** In order: what is stored and has no index. */
function gapsIn(stored: readonly LedgerRange[], indexed: readonly LedgerRange[]): LedgerRange[] {
  const gaps: LedgerRange[] = [];
  for (const { line, begin, end } of stored) {
    let at = begin;
    const inside = indexed.filter((one) => one.begin < end);
    for (const range of [...inside, { begin: end, end }]) {
      const isEnd = range.begin === end && range.end === end;
      if (range.begin - at > (isEnd ? shortestEnd : 0n)) gaps.push({ line, begin: at, end: range.begin });
      if (range.end > at) at = range.end;
    }
  }
  return gaps;
}

function* ofLine(pieces: Iterable<LogPiece>, line: number): Generator<LogPiece, void, void> {
  for (const piece of pieces) if (piece.line === line) yield piece;
}
