/** Which parts of a file on disk are not what the backup says. Zero parts are made zero at once. */
import { fstatSync, writeSync } from 'node:fs';
import { readAt } from '../../base/read-at.ts';
import type { ContentHasher, Extent, FileEntry } from '../../repository/index.ts';

const zeroes = Buffer.alloc(1 << 20);
let buffer = Buffer.allocUnsafe(1 << 20);

/** `fd`: open for reading and writing. Parts without a hash are reported: their writer compares before it writes. */
export function differingExtents(
  fd: number,
  file: FileEntry,
  hasher: ContentHasher,
): { at: number; extent: Extent }[] {
  const present = fstatSync(fd).size;
  const differing: { at: number; extent: Extent }[] = [];
  let at = 0;
  for (const extent of file.extents) {
    if (!extent.chunk) makeZero(fd, { at, length: Math.min(extent.length, Math.max(0, present - at)) });
    else if (!extent.hash || !hasher.hash(read(fd, at, extent.length)).equals(extent.hash))
      differing.push({ at, extent });
    at += extent.length;
  }
  return differing;
}

function read(fd: number, at: number, length: number): Uint8Array {
  if (buffer.length < length) buffer = Buffer.allocUnsafe(length);
  return buffer.subarray(0, readAt(fd, buffer.subarray(0, length), at));
}

function makeZero(fd: number, { at, length }: { at: number; length: number }): void {
  for (let done = 0; done < length; done += zeroes.length) {
    const count = Math.min(zeroes.length, length - done);
    if (!read(fd, at + done, count).every((byte) => byte === 0)) writeSync(fd, zeroes, 0, count, at + done);
  }
}
