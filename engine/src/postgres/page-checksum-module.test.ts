import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { test } from 'node:test';
import { alignedMemory, wasmMemoryOf } from '../base/aligned-memory.ts';
import { verifyPages } from './page-checksum.ts';
import { pageChecksumIn } from './page-checksum-module.ts';

test('random pages anywhere in the memory – the checksums that the other way computes; the pages stay as they are', () => {
  const memory = alignedMemory(1 << 20);
  const checksum = pageChecksumIn(wasmMemoryOf(memory));
  assert.ok(checksum, 'there is WebAssembly with vectors here');
  const pages = 127;
  for (const [address, firstBlock] of [
    [0, 0],
    [512, 131072 * 3 + 17],
    [4096, 0xfffffff0 - pages],
  ] as const) {
    const bytes = new Uint8Array(memory, address, pages * 8192);
    randomFillSync(bytes);
    const before = Buffer.from(bytes);
    const found: number[] = Array.from({ length: pages }, (_, page) =>
      checksum(address + page * 8192, firstBlock + page),
    );
    assert.deepEqual(Buffer.from(bytes), before);
    // With what was computed in its place, no page is bad to the other way.
    for (const [page, sum] of found.entries())
      new DataView(memory).setUint16(address + page * 8192 + 8, sum, true);
    assert.deepEqual(verifyPages(bytes, firstBlock), []);
    for (const [page, sum] of found.entries())
      assert.equal(checksum(address + page * 8192, firstBlock + page), sum, 'its own place does not count');
  }
});

test('no shared memory – there is none, and the other way is left', () => {
  assert.equal(pageChecksumIn(undefined), undefined);
});
