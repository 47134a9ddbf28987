/** Which stored indexes cover which WAL, and what no index covers. Pure. */
import { continuousRanges, fewestPieces, type LedgerRange } from '../../catalog/index.ts';
import type { LogIndex, LogNote, LogPiece } from '../../repository/index.ts';

export type SearchStep =
  | {
      readonly kind: 'index';
      readonly line: number;
      readonly begin: bigint;
      readonly end: bigint;
      readonly note: LogNote;
    }
  | { readonly kind: 'wal'; readonly line: number; readonly begin: bigint; readonly end: bigint };

/** At the end of what is stored: less than a record's header is no record yet. Between two indexes a record may begin in less. */
const shortestEnd = 24n;

/** Newest first. Made as they are asked for: there may be as many as segments of WAL. */
export function* searchPlan(
  line: number,
  notes: Pick<LogIndex, 'select'>,
  pieces: Iterable<LogPiece>,
): Generator<SearchStep, void, void> {
  const own = notes.select((note) => note.line === line && note.begin < note.end);
  const gaps = gapsIn(continuousRanges(ofLine(pieces, line)), continuousRanges(own)).reverse();
  for (const note of fewestOf(own).reversed()) {
    const { begin, end } = note;
    while (gaps[0] !== undefined && gaps[0].begin >= begin) yield { kind: 'wal', ...gaps.shift()! };
    yield { kind: 'index', line, begin, end, note };
  }
  for (const gap of gaps) yield { kind: 'wal', ...gap };
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
