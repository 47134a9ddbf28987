/**
 * Writes pieces of restored files to their places. Large ones go past the page cache (O_DIRECT): the copy into it, and finding
 * memory for it, take more processor time than to decrypt and decompress them, and a restore on a host with other servers does not push their
 * pages out of memory (docs/adr/0006). Small ones, and the ends of files, go through it.
 */
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { alignedMemory, copyBytes, directAlignment, isAligned, leastDirect } from '../base/aligned-memory.ts';
import type { DecodedPiece } from './decoder-messages.ts';

const maxFiles = 64;
const scratchBytes = 1 << 20;

interface OpenFile {
  readonly fd: number;
  /** Null: the file system cannot. */
  direct?: number | null;
}

export class PieceWriter {
  /** Bytes that went through the page cache since `close`. */
  cached = 0;
  readonly #files = new Map<string, OpenFile>();
  #scratch: Uint8Array | undefined;
  #present = Buffer.alloc(0);

  /** Bytes written. The file exists. */
  place(piece: DecodedPiece, bytes: Uint8Array, compare: boolean): number {
    const file = this.#file(piece.path);
    if (compare && this.#holds(file.fd, piece.at, bytes)) return 0;
    // What was read to compare is in the cache, and would have to leave it first.
    let done = compare ? 0 : this.#writeDirect(piece, file, bytes);
    this.cached += bytes.length - done;
    while (done < bytes.length) done += writeSync(file.fd, bytes, done, bytes.length - done, piece.at + done);
    return bytes.length;
  }

  /** Writes must be seen as done only once no descriptor is left that could still fail. */
  close(): void {
    for (const file of this.#files.values()) closeFile(file);
    this.#files.clear();
    this.cached = 0;
  }

  /**
   * Returns how many bytes from the beginning of the piece are written. What could not be written this way is written the usual
   * way, which then says why.
   */
  #writeDirect(piece: DecodedPiece, file: OpenFile, bytes: Uint8Array): number {
    if (bytes.length < leastDirect || piece.at % directAlignment !== 0) return 0;
    if (file.direct === undefined) file.direct = openDirect(piece.path);
    this.#scratch ??= new Uint8Array(alignedMemory(scratchBytes));
    if (file.direct === null || !isAligned(this.#scratch)) return 0;
    const whole = bytes.length - (bytes.length % directAlignment);
    let done = 0;
    try {
      while (done < whole) {
        const [from, at, length] = this.#aligned(bytes, done, whole);
        const wrote = writeSync(file.direct, from, at, length, piece.at + done);
        done += wrote;
        if (wrote % directAlignment !== 0 || wrote === 0) break;
      }
    } catch {
      closeSync(file.direct);
      file.direct = null;
    }
    return done;
  }

  /** Memory, offset and length of what comes next: as it is, or copied to where O_DIRECT takes it. */
  #aligned(bytes: Uint8Array, done: number, whole: number): [Uint8Array, number, number] {
    if (isAligned(bytes)) return [bytes, done, whole - done];
    const length = Math.min(scratchBytes, whole - done);
    copyBytes(bytes.subarray(done, done + length), this.#scratch!, 0);
    return [this.#scratch!, 0, length];
  }

  #holds(fd: number, at: number, bytes: Uint8Array): boolean {
    if (this.#present.length < bytes.length) this.#present = Buffer.allocUnsafe(bytes.length);
    const got = readSync(fd, this.#present, 0, bytes.length, at);
    return got === bytes.length && this.#present.subarray(0, got).equals(bytes);
  }

  #file(path: string): OpenFile {
    const known = this.#files.get(path);
    if (known !== undefined) return known;
    if (this.#files.size >= maxFiles) {
      const [oldest, old] = this.#files.entries().next().value!;
      this.#files.delete(oldest);
      closeFile(old);
    }
    const file = { fd: openSync(path, 'r+') };
    this.#files.set(path, file);
    return file;
  }
}

function openDirect(path: string): number | null {
  if (!constants.O_DIRECT) return null;
  try {
    return openSync(path, constants.O_WRONLY | constants.O_DIRECT);
  } catch {
    return null;
  }
}

function closeFile({ fd, direct }: OpenFile): void {
  closeSync(fd);
  if (typeof direct === 'number') closeSync(direct);
}
