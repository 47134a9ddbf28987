import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { constants, createZstdCompress, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { plainLengthOf } from './zstd-frame.ts';

test('any content, at any level – its length is in the head of the frame', () => {
  const lengths = [0, 1, 255, 256, 257, 65_791, 65_792, 70_000, 3 << 20];
  for (const length of lengths) {
    for (const plain of [randomBytes(length), Buffer.alloc(length)])
      for (const level of [-5, 1, 3]) {
        const params = { [constants.ZSTD_c_compressionLevel]: level };
        assert.equal(plainLengthOf(zstdCompressSync(plain, { params })), length);
      }
  }
});

test('a frame that was made without knowing its length, and what is none – nothing is said', async () => {
  const stream = createZstdCompress();
  stream.write('some text');
  await new Promise((resolve) => stream.flush(() => resolve(undefined)));
  stream.end();
  const frame = Buffer.concat(await stream.toArray());
  assert.equal(plainLengthOf(frame), undefined);
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      const said = plainLengthOf(bytes);
      assert.ok(said === undefined || (said >= 0 && bytes.length >= 4));
    }),
  );
});
