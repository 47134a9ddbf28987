import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { continuousRanges, coveringPieces, fewestPieces, type LedgerPiece, reachFrom } from './log-ledger.ts';

const piece = fc
  .record({
    line: fc.integer({ min: 1, max: 2 }),
    begin: fc.nat(60),
    length: fc.integer({ min: 1, max: 12 }),
  })
  .map(
    ({ line, begin, length }): LedgerPiece => ({ line, begin: BigInt(begin), end: BigInt(begin + length) }),
  );

function bytesOf(pieces: readonly LedgerPiece[], line: number): Set<number> {
  const bytes = new Set<number>();
  for (const p of pieces) if (p.line === line) for (let at = p.begin; at < p.end; at++) bytes.add(Number(at));
  return bytes;
}

function inOrder(pieces: readonly LedgerPiece[]): LedgerPiece[] {
  return pieces.toSorted((a, b) => a.line - b.line || Number(a.begin - b.begin));
}

test('any pieces in order – the fewest hold the same bytes, and none of them can be left out', () => {
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      const fewest = [...fewestPieces(inOrder(pieces))];
      for (const line of [1, 2]) assert.deepEqual(bytesOf(fewest, line), bytesOf(pieces, line));
      for (const [i, { line }] of fewest.entries())
        assert.notDeepEqual(bytesOf(fewest.toSpliced(i, 1), line), bytesOf(pieces, line));
    }),
  );
});

test('any pieces – the ranges hold exactly the same bytes, in order, never touching', () => {
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      const ranges = continuousRanges(pieces);
      for (const line of [1, 2]) assert.deepEqual(bytesOf(ranges, line), bytesOf(pieces, line));
      for (const [i, range] of ranges.entries()) {
        const before = ranges[i - 1];
        if (before && before.line === range.line) assert.ok(before.end < range.begin);
      }
    }),
  );
});

test('any pieces and any range – a cover without gaps exactly when every byte is stored', () => {
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), fc.nat(60), fc.nat(20), (pieces, from, length) => {
      const to = from + length;
      const bytes = bytesOf(pieces, 1);
      const all = Array.from({ length }, (_, i) => from + i).every((at) => bytes.has(at));
      const cover = coveringPieces(inOrder(pieces), { line: 1, from: BigInt(from), to: BigInt(to) });
      assert.equal(cover !== undefined, all);
      let at = BigInt(from);
      for (const p of cover ?? []) {
        assert.ok(p.begin <= at && p.end > at);
        at = p.end;
      }
      if (cover && length > 0) assert.ok(at >= BigInt(to));
      const reach = reachFrom(continuousRanges(pieces), 1, BigInt(from));
      if (all && length > 0) assert.ok(reach !== undefined && reach >= BigInt(to));
    }),
  );
});

test('pieces in any order, inside each other, of two timelines – the same ranges as in order', () => {
  const piece = (line: number, begin: number, end: number) => ({
    line,
    begin: BigInt(begin),
    end: BigInt(end),
  });
  const pieces = [
    piece(2, 5, 9),
    piece(1, 20, 30),
    piece(1, 0, 10),
    piece(1, 2, 4),
    piece(1, 10, 20),
    piece(2, 0, 5),
    piece(1, 40, 50),
  ];
  const ranges = [piece(1, 0, 30), piece(1, 40, 50), piece(2, 0, 9)];
  assert.deepEqual(continuousRanges(pieces), ranges);
  assert.deepEqual(continuousRanges(pieces.toReversed()), ranges);
  assert.deepEqual(continuousRanges(inOrder(pieces)), ranges);
});
