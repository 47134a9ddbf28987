import assert from 'node:assert/strict';
import { test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { pageImage } from './page-image.ts';
import type { BlockReference } from './record-layout.ts';

type Method = BlockReference['method'];

/** Bytes as they are, or some that came before again: what both formats are made of. */
type Piece = { readonly literal: readonly number[] } | { readonly back: number; readonly count: number };

const pieces = fc.array(
  fc.oneof(
    fc.array(fc.nat(255), { minLength: 1, maxLength: 300 }).map((literal) => ({ literal })),
    fc.record({ back: fc.integer({ min: 1, max: 4000 }), count: fc.integer({ min: 4, max: 270 }) }),
  ),
  { minLength: 1, maxLength: 60 },
);

function plainOf(parts: readonly Piece[]): number[] {
  const out: number[] = [];
  for (const part of parts) {
    if ('literal' in part) out.push(...part.literal);
    else for (let i = 0; i < part.count; i++) out.push(out[out.length - part.back]!);
  }
  return out;
}

/** Pieces that fit on a page, back references that stay inside. */
function fitting(parts: readonly Piece[]): Piece[] {
  const kept: Piece[] = [];
  let length = 0;
  for (const part of parts) {
    const size = 'literal' in part ? part.literal.length : part.count;
    if (length + size > 8000 || ('back' in part && part.back > length)) continue;
    kept.push(part);
    length += size;
  }
  return kept;
}

function pglz(parts: readonly Piece[]): Buffer {
  const items: number[][] = [];
  const flags: number[] = [];
  for (const part of parts) {
    if ('literal' in part) {
      for (const byte of part.literal) {
        items.push([byte]);
        flags.push(0);
      }
    } else {
      const long = part.count >= 18;
      const head = ((part.back >> 4) & 0xf0) | ((long ? 18 : part.count) - 3);
      items.push([head, part.back & 0xff, ...(long ? [part.count - 18] : [])]);
      flags.push(1);
    }
  }
  const out: number[] = [];
  for (let i = 0; i < items.length; i += 8) {
    out.push(flags.slice(i, i + 8).reduce((bits, flag, at) => bits | (flag << at), 0));
    for (const item of items.slice(i, i + 8)) out.push(...item);
  }
  return Buffer.from(out);
}

function lz4(parts: readonly Piece[]): Buffer {
  const out: number[] = [];
  const extra = (count: number) => {
    let rest = count - 15;
    if (rest < 0) return;
    for (; rest >= 255; rest -= 255) out.push(255);
    out.push(rest);
  };
  let literal: number[] = [];
  for (const part of parts) {
    if ('literal' in part) {
      literal.push(...part.literal);
      continue;
    }
    const count = part.count - 4;
    out.push((Math.min(15, literal.length) << 4) | Math.min(15, count));
    extra(literal.length);
    out.push(...literal, part.back & 0xff, part.back >> 8);
    extra(count);
    literal = [];
  }
  out.push(Math.min(15, literal.length) << 4);
  extra(literal.length);
  out.push(...literal);
  return Buffer.from(out);
}

function imageOf(
  method: Method,
  stored: Buffer,
  plain: number,
  holeOffset: number,
): [Buffer, BlockReference] {
  const block: BlockReference = {
    tablespace: 0,
    database: 0,
    file: 0,
    fork: 0,
    block: 0,
    dataOffset: 0,
    dataLength: 0,
    imageOffset: 3,
    imageLength: stored.length,
    holeOffset,
    holeLength: 8192 - plain,
    method,
  };
  return [Buffer.concat([Buffer.alloc(3), stored]), block];
}

for (const [method, encode] of [
  ['pglz', pglz],
  ['lz4', lz4],
  ['zstd', (parts: readonly Piece[]) => zstdCompressSync(Buffer.from(plainOf(parts)))],
  ['none', (parts: readonly Piece[]) => Buffer.from(plainOf(parts))],
] as const)
  test(`${method} – the page is as it was, with its hole`, () => {
    fc.assert(
      fc.property(pieces, (random) => {
        const parts = fitting(random);
        const plain = Buffer.from(plainOf(parts));
        if (plain.length === 0) return;
        const hole = Math.floor(plain.length / 2);
        const [buffer, block] = imageOf(method, encode(parts), plain.length, hole);
        const page = pageImage(buffer, block);
        assert.ok(page);
        assert.deepEqual(page.subarray(0, hole), plain.subarray(0, hole));
        assert.deepEqual(page.subarray(8192 - plain.length + hole), plain.subarray(hole));
        assert.ok(page.subarray(hole, hole + 8192 - plain.length).every((byte) => byte === 0));
      }),
    );
  });

test('any bytes as an image – a page or nothing, never a throw', () => {
  fc.assert(
    fc.property(
      fc.constantFrom<Method>('pglz', 'lz4', 'zstd', 'none'),
      fc.uint8Array({ maxLength: 200 }),
      fc.nat(8192),
      (method, bytes, plain) => {
        const [buffer, block] = imageOf(method, Buffer.from(bytes), plain, 24);
        const page = pageImage(buffer, block);
        assert.ok(page === undefined || page.length === 8192);
      },
    ),
  );
});
