import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ChunkRef, type Extent, overlayExtents, type Patch } from './extents.ts';

/** A tiny model: every chunk's bytes are known, so that a list of extents can be played out as bytes. */
const chunkBytes = (chunk: ChunkRef, at: number): number => ((chunk.index * 31 + at) % 255) + 1;

function play(extents: readonly Extent[]): number[] {
  return extents.flatMap(({ length, chunk, start }) =>
    Array.from({ length }, (_, i) => (chunk ? chunkBytes(chunk, start + i) : 0)),
  );
}

const chunkRef = (index: number): ChunkRef => ({
  pack: 'aa'.repeat(16),
  keyId: 'bb'.repeat(8),
  index,
  offset: 48,
  stored: 100,
  raw: 64,
});
const extent = fc
  .record({
    index: fc.nat(20),
    start: fc.nat(32),
    length: fc.integer({ min: 1, max: 12 }),
    zero: fc.boolean(),
  })
  .map(
    ({ index, start, length, zero }): Extent =>
      zero ? { length, start: 0 } : { length, chunk: chunkRef(index), start, hash: new Uint8Array(16) },
  );

test('any old view, patches, size and truncation – the overlay plays out as the bytes do', () => {
  const patchList = fc.array(fc.record({ skip: fc.nat(10), extent }), { maxLength: 8 });
  fc.assert(
    fc.property(
      fc.array(extent, { maxLength: 10 }),
      patchList,
      fc.nat(60),
      fc.nat(60),
      (old, raw, tail, keepBelow) => {
        const patches: Patch[] = [];
        let at = 0;
        for (const { skip, extent: patch } of raw) {
          patches.push({ at: at + skip, extent: patch });
          at += skip + patch.length;
        }
        const size = at + tail;
        const expected = new Array<number>(size).fill(0);
        for (const [i, byte] of play(old).entries()) if (i < Math.min(size, keepBelow)) expected[i] = byte;
        for (const patch of patches)
          for (const [i, byte] of play([patch.extent]).entries()) expected[patch.at + i] = byte;
        const result = overlayExtents(old, patches, { size, keepBelow });
        assert.deepEqual(play(result), expected);
      },
    ),
    { numRuns: 500 },
  );
});

test('an extent that is kept whole – keeps its hash; one that is cut loses it', () => {
  const old: Extent[] = [
    { length: 8, chunk: chunkRef(1), start: 0, hash: new Uint8Array([1]) },
    { length: 8, chunk: chunkRef(2), start: 4, hash: new Uint8Array([2]) },
  ];
  const patch = { at: 12, extent: { length: 2, chunk: chunkRef(3), start: 0 } };
  const result = overlayExtents(old, [patch], { size: 16, keepBelow: 16 });
  assert.deepEqual(
    result.map(({ length, start, hash, chunk }) => [length, chunk?.index, start, hash?.[0]]),
    [
      [8, 1, 0, 1],
      [4, 2, 4, undefined],
      [2, 3, 0, undefined],
      [2, 2, 10, undefined],
    ],
  );
});

test('no patches and the same size – the very same extents', () => {
  const old: Extent[] = [{ length: 8, chunk: chunkRef(1), start: 0, hash: new Uint8Array([1]) }];
  assert.equal(overlayExtents(old, [], { size: 8, keepBelow: 8 })[0], old[0]);
});
