/** Bytes between buffers and files, without copies. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { directAlignment, isAligned, leastDirect } from '../base/aligned-memory.ts';
import type { FsHooks } from './fs-hooks.ts';
import { noHooks } from './fs-hooks.ts';

/** IOV_MAX of Linux, writev(2). */
const mostPieces = 1024;

/** Writes all pieces, one after the other, into an empty file. */
export async function writeBody(
  { file, path }: { readonly file: FileHandle; readonly path: string },
  body: readonly Uint8Array[],
  hooks: FsHooks,
): Promise<void> {
  const pieces = body.filter((piece) => piece.length > 0);
  await hooks.point('put.write');
  // For crash tests there is a moment at which half of the bytes are written.
  const whole = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const stop = hooks === noHooks ? whole : Math.floor(whole / 2);
  const done = await writeDirect(path, pieces[0]?.subarray(0, stop));
  await writeAll(file, cut(pieces, done, stop), done);
  if (hooks === noHooks) return;
  await hooks.point('put.write-rest');
  await writeAll(file, cut(pieces, stop, whole), stop);
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

/**
 * Writes the beginning of a large, aligned piece past the page cache: that spares a copy, and a backup does not push the
 * server's pages out of memory. Returns how many bytes that were: 0 where the file system cannot. What it could not write is
 * written the usual way, which then says why.
 */
async function writeDirect(path: string, piece: Uint8Array | undefined): Promise<number> {
  if (piece === undefined || piece.length < leastDirect || !isAligned(piece)) return 0;
  const length = piece.length - (piece.length % directAlignment);
  const file = await openDirect(path, constants.O_WRONLY);
  if (file === undefined) return 0;
  try {
    let done = 0;
    while (done < length) {
      const { bytesWritten } = await file.write(piece, done, length - done, done);
      if (bytesWritten === 0 || bytesWritten % directAlignment !== 0) return done;
      done += bytesWritten;
    }
    return done;
  } catch {
    return 0;
  } finally {
    await file.close();
  }
}

/**
 * Fills the beginning of `target` from the disk itself, if it can be; returns how many bytes that were, the rest has to be read the
 * usual way. So what was just written is compared with what the disk gives, not with what the page cache holds.
 */
export async function readDirect(path: string, target: Uint8Array, offset: number): Promise<number> {
  if (offset % directAlignment !== 0 || target.length < leastDirect || !isAligned(target)) return 0;
  const file = await openDirect(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  if (file === undefined) return 0;
  try {
    const length = target.length - (target.length % directAlignment);
    return (await file.read(target, 0, length, offset)).bytesRead;
  } catch {
    return 0;
  } finally {
    await file.close();
  }
}

/** Undefined where the system or the file system knows no O_DIRECT. */
async function openDirect(path: string, flags: number): Promise<FileHandle | undefined> {
  if (!constants.O_DIRECT) return undefined;
  return open(path, flags | constants.O_DIRECT).catch(() => undefined);
}

async function writeAll(file: FileHandle, pieces: readonly Uint8Array[], from: number): Promise<void> {
  let at = from;
  let next = 0;
  /** Bytes of the piece `next` that are written: a write may be short. */
  let done = 0;
  while (next < pieces.length) {
    const group = pieces.slice(next, next + mostPieces);
    if (done > 0) group[0] = group[0]!.subarray(done);
    let { bytesWritten } = await file.writev(group, at);
    at += bytesWritten;
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
