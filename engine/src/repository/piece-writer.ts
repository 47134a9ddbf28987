/**
 * Writes pieces of restored files to their places. Large ones go past the page cache (O_DIRECT): the copy into it, and finding
 * memory for it, take more processor time than to decrypt and decompress them, and a restore on a host with other servers does not push their
 * pages out of memory (docs/adr/0006). Small ones, and the ends of files, go through it. Neighbours in a file that are neighbours in memory are
 * written at once: a file that grows takes one such write at a time, and each waits for the disk.
 */
import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { alignedMemory, copyBytes, directAlignment, isAligned, leastDirect } from '../base/aligned-memory.ts';
import { readAt } from '../base/read-at.ts';
import type { DecodedPiece } from './decoder-messages.ts';

const maxFiles = 64;
const scratchBytes = 1 << 20;

interface OpenFile {
  readonly fd: number;
  /** Null: the file system cannot. */
  direct?: number | null;
}

/** Neighbours that wait to be written. */
interface Gathered {
  readonly path: string;
  readonly file: OpenFile;
  /** In the file. */
  readonly at: number;
  bytes: Uint8Array;
}

export class PieceWriter {
  /** Bytes that went through the page cache since `close`. */
  cached = 0;
  /** The file of the last write: what failed, when one did. */
  path = '';
  #gathered: Gathered | undefined;
  readonly #files = new Map<string, OpenFile>();
  #scratch: Uint8Array | undefined;
  #present = Buffer.alloc(0);

  /** Bytes written, or to be written by `flush`, until which they must stay as they are. The file exists. */
  place(piece: DecodedPiece, bytes: Uint8Array, compare: boolean): number {
    const file = this.#file(piece.path);
    if (compare) {
      if (this.#holds(file.fd, piece.at, bytes)) return 0;
      // What was read to compare is in the cache, and would have to leave it first.
      this.#writeCached(file, piece.at, bytes);
    } else if (piece.at % directAlignment === 0 && bytes.length % directAlignment === 0 && isAligned(bytes)) {
      this.#gather(piece, file, bytes);
    } else this.#write({ path: piece.path, file, at: piece.at, bytes });
    return bytes.length;
  }

  /** Writes what was gathered. */
  flush(): void {
    const gathered = this.#gathered;
    if (gathered === undefined) return;
    this.#gathered = undefined;
    this.path = gathered.path;
    this.#write(gathered);
  }

  /**
   * Writes must be seen as done only once no descriptor is left that could still fail. What was gathered and not flushed is
   * not written.
   */
  close(): void {
    this.#gathered = undefined;
    this.cached = 0;
    const files = [...this.#files];
    this.#files.clear();
    const failures = files.flatMap(([path, file]) => {
      try {
        closeFile(file);
        return [];
      } catch (thrown) {
        return [{ path, thrown }];
      }
    });
    const [first] = failures;
    if (first === undefined) return;
    this.path = first.path;
    throw first.thrown;
  }

  #gather(piece: DecodedPiece, file: OpenFile, bytes: Uint8Array): void {
    const before = this.#gathered;
    if (before?.path === piece.path && before.at + before.bytes.length === piece.at) {
      const joined = join(before.bytes, bytes);
      if (joined !== undefined) {
        before.bytes = joined;
        return;
      }
    }
    this.flush();
    this.#gathered = { path: piece.path, file, at: piece.at, bytes };
  }

  #write(piece: Gathered): void {
    const done = this.#writeDirect(piece);
    this.#writeCached(piece.file, piece.at + done, piece.bytes.subarray(done));
  }

  #writeCached(file: OpenFile, at: number, bytes: Uint8Array): void {
    this.cached += bytes.length;
    for (let done = 0; done < bytes.length; )
      done += writeSync(file.fd, bytes, done, bytes.length - done, at + done);
  }

  /**
   * Returns how many bytes from the beginning of the piece are written. What could not be written this way is written the usual
   * way, which then says why.
   */
  #writeDirect({ path, file, at: begin, bytes }: Gathered): number {
    if (bytes.length < leastDirect || begin % directAlignment !== 0) return 0;
    if (file.direct === undefined) file.direct = openDirect(path);
    this.#scratch ??= new Uint8Array(alignedMemory(scratchBytes));
    if (file.direct === null || !isAligned(this.#scratch)) return 0;
    const whole = bytes.length - (bytes.length % directAlignment);
    let done = 0;
    try {
      while (done < whole) {
        const [from, at, length] = this.#aligned(bytes, done, whole);
        const wrote = writeSync(file.direct, from, at, length, begin + done);
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
    const present = this.#present.subarray(0, bytes.length);
    return readAt(fd, present, at) === bytes.length && present.equals(bytes);
  }

  #file(path: string): OpenFile {
    const known = this.#files.get(path);
    if (known === undefined) return this.#open(path);
    this.path = path;
    return known;
  }

  #open(path: string): OpenFile {
    if (this.#files.size >= maxFiles) {
      this.flush();
      const [oldest, old] = this.#files.entries().next().value!;
      this.#files.delete(oldest);
      this.path = oldest;
      closeFile(old);
    }
    this.path = path;
    const file = { fd: openSync(path, 'r+') };
    this.#files.set(path, file);
    return file;
  }
}

/** Undefined when they are not neighbours in memory. */
function join(first: Uint8Array, second: Uint8Array): Uint8Array | undefined {
  if (first.buffer !== second.buffer || first.byteOffset + first.length !== second.byteOffset)
    return undefined;
  return new Uint8Array(first.buffer, first.byteOffset, first.length + second.length);
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
