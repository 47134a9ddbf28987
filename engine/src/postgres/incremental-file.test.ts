import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cuts, pieces } from '../../test/splits.ts';
import { HelvinoError } from '../base/errors.ts';
import { IncrementalFileReader } from './incremental-file.ts';

function build(
  truncationBlocks: number,
  blocks: readonly number[],
  change: { magic?: number; count?: number } = {},
): Buffer {
  const head = Buffer.alloc(12 + blocks.length * 4);
  head.writeUInt32LE(change.magic ?? 0xd3ae1f0d, 0);
  head.writeUInt32LE(change.count ?? blocks.length, 4);
  head.writeUInt32LE(truncationBlocks, 8);
  for (const [i, block] of blocks.entries()) head.writeUInt32LE(block, 12 + i * 4);
  const padding = blocks.length === 0 ? 0 : (8192 - (head.length % 8192)) % 8192;
  return Buffer.concat([
    head,
    Buffer.alloc(padding),
    ...blocks.map((block) => Buffer.alloc(8192, block % 251)),
  ]);
}

function read(parts: Iterable<Uint8Array>) {
  let header: { truncationBlocks: number; blocks: number[] } | undefined;
  const data: Buffer[] = [];
  const reader = new IncrementalFileReader({
    header: ({ truncationBlocks, blocks }) => {
      assert.equal(header, undefined);
      header = { truncationBlocks, blocks: [...blocks] };
    },
    data: (bytes) => data.push(Buffer.from(bytes)),
  });
  for (const part of parts) reader.push(part);
  reader.end();
  return { ...header!, data: Buffer.concat(data) };
}

test('blocks in pieces of any size – header and content come out', () => {
  const list = fc
    .uniqueArray(fc.nat(131_071), { maxLength: 6 })
    .map((blocks) => blocks.sort((a, b) => a - b));
  fc.assert(
    fc.property(
      list,
      fc.nat(131_072),
      fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 1 }),
      (blocks, truncation, lengths) => {
        const result = read(cuts(build(truncation, blocks), lengths));
        assert.deepEqual(result.blocks, blocks);
        assert.equal(result.truncationBlocks, truncation);
        assert.deepEqual(result.data, Buffer.concat(blocks.map((block) => Buffer.alloc(8192, block % 251))));
      },
    ),
    { numRuns: 50 },
  );
});

test('byte by byte, with a header of more than one block – the same', () => {
  const blocks = Array.from({ length: 2100 }, (_, i) => i * 2);
  const file = build(5000, blocks).subarray(0, 16_384 + 8192);
  const seen: number[] = [];
  const reader = new IncrementalFileReader({
    header: (header) => seen.push(header.blocks.length),
    data: (bytes) => seen.push(bytes.length),
  });
  for (const part of pieces(file, 1)) reader.push(part);
  assert.equal(seen[0], 2100);
  assert.equal(seen.length - 1, 8192);
});

test('no blocks – a header of 12 bytes and nothing else', () => {
  assert.deepEqual(read([build(7, [])]), { truncationBlocks: 7, blocks: [], data: Buffer.alloc(0) });
});

test('malformed files – PROTOCOL', () => {
  const refuses = (file: Buffer, message: RegExp) =>
    assert.throws(
      () => read([file]),
      (thrown) =>
        thrown instanceof HelvinoError && thrown.code === 'PROTOCOL' && message.test(thrown.message),
    );
  refuses(build(1, [0], { magic: 0x0d1faed3 }), /magic/);
  refuses(build(1, [0], { count: 131_073 }), /claims 131073 blocks/);
  refuses(build(131_073, [0]), /truncation length/);
  refuses(build(9, [3, 3]), /block number 3 comes after 3/);
  refuses(build(9, [131_072]), /block number 131072/);
  refuses(build(9, [1]).subarray(0, 10), /within its header/);
  refuses(build(9, [1]).subarray(0, 9000), /7384 bytes too short/);
  refuses(Buffer.concat([build(9, [1]), Buffer.alloc(1)]), /1 bytes too many/);
});

test('garbage – never anything but HelvinoError PROTOCOL', () => {
  const start = Buffer.from([0x0d, 0x1f, 0xae, 0xd3]);
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 200 }),
      fc.boolean(),
      fc.integer({ min: 1, max: 50 }),
      (bytes, good, size) => {
        try {
          read(pieces(good ? Buffer.concat([start, bytes]) : bytes, size));
        } catch (thrown) {
          assert.ok(thrown instanceof HelvinoError && thrown.code === 'PROTOCOL', String(thrown));
        }
      },
    ),
  );
});
