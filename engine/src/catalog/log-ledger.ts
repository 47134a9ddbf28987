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
  const ranges: LedgerRange[] = [];
  for (const piece of pieces) extend(ranges, piece);
  // As stores list them they are in order. Otherwise what was joined so far is put in order and joined once more.
  if (ranges.every((range, i) => i === 0 || inOrder(ranges[i - 1]!, range) <= 0)) return ranges;
  const joined: LedgerRange[] = [];
  for (const range of ranges.sort(inOrder)) extend(joined, range);
  return joined;
}

function extend(ranges: LedgerRange[], { line, begin, end }: LedgerPiece): void {
  const last = ranges.at(-1);
  if (last === undefined || last.line !== line || begin < last.begin || begin > last.end)
    ranges.push({ line, begin, end });
  else if (end > last.end) ranges[ranges.length - 1] = { ...last, end };
}

function inOrder(a: LedgerRange, b: LedgerRange): number {
  return a.line - b.line || compare(a.begin, b.begin);
}

/** How far WAL reaches without a gap from `from` on; undefined when not even `from` is stored. */
export function reachFrom(ranges: readonly LedgerRange[], line: number, from: bigint): bigint | undefined {
  return ranges.find((range) => range.line === line && range.begin <= from && from <= range.end)?.end;
}

/** The fewest pieces that cover [from, to), in order; undefined when there is a gap. */
export function coveringPieces<T extends LedgerPiece>(
  pieces: Iterable<T>,
  { line, from, to }: { line: number; from: bigint; to: bigint },
): T[] | undefined {
  const own: T[] = [];
  for (const piece of pieces)
    if (piece.line === line && piece.end > from && piece.begin < to) own.push(piece);
  own.sort((a, b) => compare(a.begin, b.begin) || compare(b.end, a.end));
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
