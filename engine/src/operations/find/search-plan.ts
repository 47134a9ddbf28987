/** Which stored indexes cover which WAL, and what no index covers. Pure. */
import { continuousRanges, coveringPieces } from '../../catalog/index.ts';
import type { LogNote, LogPiece } from '../../repository/index.ts';

export type SearchStep =
  | {
      readonly kind: 'index';
      readonly line: number;
      readonly begin: bigint;
      readonly end: bigint;
      readonly note: LogNote;
    }
  | { readonly kind: 'wal'; readonly line: number; readonly begin: bigint; readonly end: bigint };

/** Newest first. WAL shorter than a record's header cannot hold a transaction's end. */
const shortestGap = 24n;

export function searchPlan(
  line: number,
  notes: readonly LogNote[],
  pieces: readonly LogPiece[],
): SearchStep[] {
  const own = notes.filter((note) => note.line === line);
  const indexed = continuousRanges(own);
  const steps: SearchStep[] = [];
  for (const { begin, end } of indexed)
    for (const note of coveringPieces(own, { line, from: begin, to: end }) ?? [])
      steps.push({ kind: 'index', line, begin: note.begin, end: note.end, note });
  for (const stored of continuousRanges(pieces.filter((piece) => piece.line === line))) {
    let at = stored.begin;
    for (const range of [
      ...indexed.filter(({ begin }) => begin < stored.end),
      { begin: stored.end, end: stored.end },
    ]) {
      if (range.begin - at > shortestGap) steps.push({ kind: 'wal', line, begin: at, end: range.begin });
      if (range.end > at) at = range.end;
    }
  }
  return steps.sort((a, b) => (a.begin < b.begin ? 1 : a.begin > b.begin ? -1 : 0));
}
