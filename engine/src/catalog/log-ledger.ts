/**
 * The ledger of a log: which ranges of each timeline are stored without a gap. Pure; from the pieces' names alone.
 */
export interface LedgerPiece {
  readonly line: number;
  readonly begin: bigint;
  readonly end: bigint;
}

export interface LedgerRange {
  readonly line: number;
  readonly begin: bigint;
  readonly end: bigint;
}

/** Continuous ranges in order of timeline and begin. Pieces may overlap and come in any order. */
export function continuousRanges(pieces: Iterable<LedgerPiece>): LedgerRange[] {
  const sorted = [...pieces].sort((a, b) => a.line - b.line || compare(a.begin, b.begin));
  const ranges: { line: number; begin: bigint; end: bigint }[] = [];
  for (const { line, begin, end } of sorted) {
    const last = ranges.at(-1);
    if (last && last.line === line && begin <= last.end) {
      if (end > last.end) last.end = end;
    } else ranges.push({ line, begin, end });
  }
  return ranges;
}

/** How far WAL reaches without a gap from `from` on; undefined when not even `from` is stored. */
export function reachFrom(ranges: readonly LedgerRange[], line: number, from: bigint): bigint | undefined {
  return ranges.find((range) => range.line === line && range.begin <= from && from <= range.end)?.end;
}

/** The fewest pieces that cover [from, to), in order; undefined when there is a gap. */
export function coveringPieces<T extends LedgerPiece>(
  pieces: readonly T[],
  { line, from, to }: { line: number; from: bigint; to: bigint },
): T[] | undefined {
  const own = pieces
    .filter((piece) => piece.line === line)
    .sort((a, b) => compare(a.begin, b.begin) || compare(b.end, a.end));
  const chosen: T[] = [];
  let at = from;
  let i = 0;
  while (at < to) {
    let best: T | undefined;
    while (i < own.length && own[i]!.begin <= at) {
      if (best === undefined || own[i]!.end > best.end) best = own[i];
      i++;
    }
    if (best === undefined || best.end <= at) return undefined;
    chosen.push(best);
    at = best.end;
  }
  return chosen;
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
