import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { Compressor, Decompressor, zstdParams } from './zstd.ts';

const longSteps = [-1, -2, -3];
const levels = [-5, ...longSteps, 1, 3];

test('on this Node.js – results come into own memory', () => {
  assert.equal(new Compressor(1).direct, true);
  assert.equal(new Decompressor().direct, true);
});

const contents = fc.oneof(
  fc.uint8Array({ maxLength: 5000 }),
  fc
    .tuple(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.integer({ min: 1, max: 300_000 }))
    .map(([part, length]) => new Uint8Array(Buffer.alloc(length, part))),
);

test('any content, one after the other, at any level – and back; the frames of zlib, but at levels of long steps', () => {
  const decompressor = new Decompressor();
  const into = Buffer.alloc(300_001);
  for (const level of levels) {
    const compressor = new Compressor(level);
    fc.assert(
      fc.property(contents, (plain) => {
        const frame = compressor.compress(plain);
        if (!longSteps.includes(level))
          assert.deepEqual(frame, zstdCompressSync(plain, { params: zstdParams(level), chunkSize: 400_000 }));
        decompressor.decompress(frame, into, plain.length);
        assert.equal(Buffer.compare(into.subarray(0, plain.length), plain), 0);
        assert.equal(Buffer.compare(zstdDecompressSync(frame), plain), 0);
      }),
      { numRuns: 150 },
    );
  }
});

test('levels of long steps – smaller than zlib makes them, one after the other smaller than the next; and back', () => {
  // Few different bytes, and hardly a match.
  const plain = Buffer.from(Array.from({ length: 200_000 }, (_, i) => 97 + (((i * i * 7919) % 1009) % 13)));
  const into = Buffer.alloc(plain.length + 1);
  const lengths = longSteps.map((level) => {
    const frame = new Compressor(level).compress(plain);
    new Decompressor().decompress(frame, into, plain.length);
    assert.equal(Buffer.compare(into.subarray(0, plain.length), plain), 0);
    const byZlib = zstdCompressSync(plain, { params: zstdParams(level) });
    assert.ok(frame.length < 0.7 * byZlib.length, `${frame.length} of ${byZlib.length}`);
    return frame.length;
  });
  assert.deepEqual(
    lengths,
    lengths.toSorted((a, b) => a - b),
  );
});

test('shared memory – as well', () => {
  const plain = new Uint8Array(new SharedArrayBuffer(100_000)).fill(7);
  const into = new Uint8Array(new SharedArrayBuffer(100_001));
  new Decompressor().decompress(new Compressor(1).compress(plain), into, 100_000);
  assert.deepEqual(into.subarray(0, 100_000), plain);
});

test('what is no whole frame, or not as long as it should be – said; the next one is read', () => {
  const decompressor = new Decompressor();
  const plain = Buffer.alloc(200_000, 'some text that compresses');
  const good = Buffer.from(new Compressor(1).compress(plain));
  const into = Buffer.alloc(plain.length + 1);
  const isGood = () => {
    into.fill(0);
    decompressor.decompress(good, into, plain.length);
    assert.deepEqual(into.subarray(0, plain.length), plain);
  };
  const refused = (frame: Uint8Array, room = into, length = plain.length) => {
    assert.throws(() => decompressor.decompress(frame, room, length));
    isGood();
  };
  refused(good, Buffer.alloc(plain.length));
  refused(good, into, plain.length - 1);
  refused(Buffer.from('no frame at all'));
  refused(Buffer.alloc(0));
  refused(Buffer.concat([good, good]));
  for (let cut = 1; cut < good.length; cut++) refused(good.subarray(0, cut));
});

test('bytes that were changed – no crash, and the next one is read', () => {
  const decompressor = new Decompressor();
  const plain = Buffer.from(Array.from({ length: 30_000 }, (_, i) => (i * i) % 251));
  const good = Buffer.from(zstdCompressSync(plain));
  const into = Buffer.alloc(plain.length + 1);
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const bad = Buffer.from(good);
      bad[at]! ^= change;
      try {
        decompressor.decompress(bad, into, plain.length);
      } catch {
        // said
      }
      into.fill(0);
      decompressor.decompress(good, into, plain.length);
      assert.deepEqual(into.subarray(0, plain.length), plain);
    }),
    { numRuns: 300 },
  );
});
