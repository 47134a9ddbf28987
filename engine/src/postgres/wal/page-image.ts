/**
 * The page image in a WAL record as a whole page: hole put back, decompressed. Formats: src/common/pg_lzcompress.c,
 * https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md, RFC 8878.
 */
import { zstdDecompressSync } from 'node:zlib';
import type { BlockReference } from './record-layout.ts';

const pageSize = 8192;

/** Undefined when there is no image, or it is damaged. */
export function pageImage(buffer: Buffer, block: BlockReference): Buffer | undefined {
  const { imageLength, imageOffset, holeOffset, holeLength, method } = block;
  if (imageLength === 0 || holeOffset + holeLength > pageSize) return undefined;
  const stored = buffer.subarray(imageOffset, imageOffset + imageLength);
  const bare = expand(stored, pageSize - holeLength, method);
  if (bare?.length !== pageSize - holeLength) return undefined;
  const page = Buffer.alloc(pageSize);
  bare.copy(page, 0, 0, holeOffset);
  bare.copy(page, holeOffset + holeLength, holeOffset);
  return page;
}

function expand(stored: Buffer, length: number, method: BlockReference['method']): Buffer | undefined {
  if (method === 'none') return stored;
  if (method === 'pglz') return expandPglz(stored, length);
  if (method === 'lz4') return expandLz4(stored, length);
  try {
    return zstdDecompressSync(stored, { maxOutputLength: length });
  } catch {
    return undefined;
  }
}

/** Eight items follow each control byte, lowest bit first: a byte as it is, or a place and a length. */
function expandPglz(stored: Buffer, length: number): Buffer | undefined {
  const out = Buffer.alloc(length);
  let at = 0;
  let to = 0;
  while (at < stored.length && to < length) {
    let control = stored[at++]!;
    for (let i = 0; i < 8 && at < stored.length && to < length; i++, control >>= 1) {
      if ((control & 1) === 0) {
        out[to++] = stored[at++]!;
        continue;
      }
      const first = stored[at]!;
      const back = ((first & 0xf0) << 4) | (stored[at + 1] ?? 0);
      let count = (first & 0x0f) + 3;
      at += 2;
      if (count === 18) count += stored[at++] ?? 0;
      if (back === 0 || back > to) return undefined;
      for (const end = Math.min(length, to + count); to < end; to++) out[to] = out[to - back]!;
    }
  }
  return to === length ? out : undefined;
}

function expandLz4(stored: Buffer, length: number): Buffer | undefined {
  const out = Buffer.alloc(length);
  let at = 0;
  let to = 0;
  const more = (start: number): number => {
    let count = start;
    if (start !== 15) return count;
    for (let byte = 255; byte === 255 && at < stored.length; ) {
      byte = stored[at++]!;
      count += byte;
    }
    return count;
  };
  while (at < stored.length) {
    const token = stored[at++]!;
    const literals = more(token >> 4);
    if (at + literals > stored.length || to + literals > length) return undefined;
    stored.copy(out, to, at, at + literals);
    at += literals;
    to += literals;
    if (at >= stored.length) break;
    const back = stored[at]! | ((stored[at + 1] ?? 0) << 8);
    at += 2;
    const count = more(token & 15) + 4;
    if (back === 0 || back > to || to + count > length) return undefined;
    for (const end = to + count; to < end; to++) out[to] = out[to - back]!;
  }
  return to === length ? out : undefined;
}
