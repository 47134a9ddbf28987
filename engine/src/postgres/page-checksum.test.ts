import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { verifyPages } from './page-checksum.ts';

const pageSize = 8192;

/** A page of arbitrary content with the checksum that verifyPages wants. */
function goodPage(seed: number, block: number): Uint8Array {
  const page = new Uint8Array(pageSize);
  let state = seed | 1;
  for (let at = 0; at < pageSize; at++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    page[at] = state >>> 16;
  }
  page[14] = 1;
  const bad = verifyPages(page, block)[0];
  if (bad) {
    page[8] = bad.expected & 0xff;
    page[9] = bad.expected >> 8;
  }
  return page;
}

test('new pages, all zero – good', () => {
  assert.deepEqual(verifyPages(new Uint8Array(3 * pageSize), 7), []);
});

test('a page that says it is new and is not empty – bad', () => {
  const page = new Uint8Array(pageSize);
  page[pageSize - 1] = 1;
  assert.deepEqual(verifyPages(page, 7), [{ block: 7, expected: 0, found: 0 }]);
});

test('a page cut off by the end of the file – bad', () => {
  assert.deepEqual(verifyPages(new Uint8Array(pageSize + 100), 7), [{ block: 8, expected: 0, found: 0 }]);
});

test('any one changed byte, the right page at the wrong block – found, and the page is left as it was', () => {
  fc.assert(
    fc.property(
      fc.integer(),
      fc.nat(1_000_000),
      fc.nat(pageSize - 1),
      fc.integer({ min: 1, max: 255 }),
      (seed, block, at, change) => {
        const page = goodPage(seed, block);
        assert.deepEqual(verifyPages(page, block), []);
        assert.equal(verifyPages(page, block + 1).length, 1);
        const changed = Uint8Array.from(page);
        changed[at] = changed[at]! ^ change;
        const before = Uint8Array.from(changed);
        assert.deepEqual(
          verifyPages(changed, block).map((bad) => bad.block),
          [block],
        );
        assert.deepEqual(changed, before);
      },
    ),
    { numRuns: 200, seed: 20261125 },
  );
});
