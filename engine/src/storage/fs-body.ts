/** Bytes between buffers and files, without copies. */
import type { FileHandle } from 'node:fs/promises';
import type { FsHooks } from './fs-hooks.ts';
import { noHooks } from './fs-hooks.ts';

/** IOV_MAX of Linux, writev(2). */
const mostPieces = 1024;

/** Writes all pieces, one after the other, from where the file stands. */
export async function writeBody(
  file: FileHandle,
  body: readonly Uint8Array[],
  hooks: FsHooks,
): Promise<void> {
  const pieces = body.filter((piece) => piece.length > 0);
  await hooks.point('put.write');
  if (hooks === noHooks) return writeAll(file, pieces);
  // For crash tests there is a moment at which half of the bytes are written.
  const half = Math.floor(pieces.reduce((sum, piece) => sum + piece.length, 0) / 2);
  await writeAll(file, cut(pieces, 0, half));
  await hooks.point('put.write-rest');
  await writeAll(file, cut(pieces, half, Number.POSITIVE_INFINITY));
}

/** Fills `target` from `offset` on; returns how many bytes the file had to give. */
export async function readBody(file: FileHandle, target: Uint8Array, offset: number): Promise<number> {
  let filled = 0;
  while (filled < target.length) {
    const { bytesRead } = await file.read(target, filled, target.length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return filled;
}

async function writeAll(file: FileHandle, pieces: readonly Uint8Array[]): Promise<void> {
  let next = 0;
  /** Bytes of the piece `next` that are written: a write may be short. */
  let done = 0;
  while (next < pieces.length) {
    const group = pieces.slice(next, next + mostPieces);
    if (done > 0) group[0] = group[0]!.subarray(done);
    let { bytesWritten } = await file.writev(group);
    for (const piece of group) {
      if (bytesWritten < piece.length) break;
      bytesWritten -= piece.length;
      done = 0;
      next++;
    }
    done += bytesWritten;
  }
}

/** The bytes from `begin` to `end` of the whole that the pieces make up, as views. */
function cut(pieces: readonly Uint8Array[], begin: number, end: number): Uint8Array[] {
  const views: Uint8Array[] = [];
  let at = 0;
  for (const piece of pieces) {
    const view = piece.subarray(Math.max(0, begin - at), Math.max(0, end - at));
    if (view.length > 0) views.push(view);
    at += piece.length;
  }
  return views;
}
