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

/** What is left of a range without a part of it. */
export function outside(range: LedgerRange, part: Omit<LedgerRange, 'line'>): LedgerRange[] {
  if (part.end <= range.begin || part.begin >= range.end) return [range];
  const parts = [
    { ...range, end: part.begin },
    { ...range, begin: part.end },
  ];
  return parts.filter(({ begin, end }) => begin < end);
}

/** How far WAL reaches without a gap from `from` on; undefined when not even `from` is stored. */
export function reachFrom(ranges: readonly LedgerRange[], line: number, from: bigint): bigint | undefined {
  return ranges.find((range) => range.line === line && range.begin <= from && from <= range.end)?.end;
}

/**
 * The fewest pieces that hold the same bytes, as they come. `pieces` come in order of line and begin. With `from`: the fewest
 * for what is after it.
 */
export function* fewestPieces<T extends LedgerPiece>(
  pieces: Iterable<T>,
  from?: bigint,
): Generator<T, void, void> {
  let line: number | undefined;
  let reach = 0n;
  /** Of those that begin at `reach` or before it the one that leads furthest. */
  let best: T | undefined;
  for (const piece of pieces) {
    if (piece.line !== line) {
      if (best !== undefined && best.end > reach) yield best;
      best = undefined;
      line = piece.line;
      reach = from ?? piece.begin;
    }
    if (piece.begin > reach && best !== undefined && best.end > reach) {
      yield best;
      reach = best.end;
    }
    // A gap.
    if (piece.begin > reach) reach = piece.begin;
    if (best === undefined || piece.end > best.end) best = piece;
  }
  if (best !== undefined && best.end > reach) yield best;
}

/** The fewest pieces that cover [from, to), in order; undefined when there is a gap. `pieces` come in order of line and begin. */
export function coveringPieces<T extends LedgerPiece>(
  pieces: Iterable<T>,
  { line, from, to }: { line: number; from: bigint; to: bigint },
): Iterable<T> | undefined {
  function* cover(): Generator<T, bigint, void> {
    let at = from;
    for (const piece of fewestPieces(within(pieces, { line, from, to }), from)) {
      if (piece.begin > at || at >= to) break;
      yield piece;
      at = piece.end;
    }
    return at;
  }
  // Once to know that there is no gap: a cover may be long, and none of it is kept.
  const trial = cover();
  let step = trial.next();
  while (!step.done) step = trial.next();
  return step.value >= to ? { [Symbol.iterator]: cover } : undefined;
}

function* within<T extends LedgerPiece>(
  pieces: Iterable<T>,
  { line, from, to }: { line: number; from: bigint; to: bigint },
): Generator<T, void, void> {
  for (const piece of pieces) {
    if (piece.line > line || (piece.line === line && piece.begin >= to)) return;
    if (piece.line === line && piece.end > from) yield piece;
  }
}

function compare(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
