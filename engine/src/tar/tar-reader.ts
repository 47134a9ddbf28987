/** An incremental tar reader: bytes are pushed in pieces of any size, entries come out. */
import { blockSize, malformed, parseTarHeader, type TarEntry } from './tar-header.ts';

export type { TarEntry };

export interface TarHandler {
  entry(header: TarEntry): void;
  /** Content of the entry at hand. A view that is valid during the call only. */
  data(bytes: Uint8Array): void;
  /** The entry at hand is complete; called for directories and symlinks also. */
  entryEnd(): void;
}

/**
 * The end is two blocks of zeroes, or simply no more bytes after an entry: before version 15 the server leaves the end blocks
 * out (https://www.postgresql.org/docs/14/protocol-replication.html). Throws HelvinoError PROTOCOL with the offset; after
 * that, and after an exception of the handler, the reader must not be used again.
 */
export class TarReader {
  readonly #handler: TarHandler;
  readonly #header = new Uint8Array(blockSize);
  #headerFilled = 0;
  /** Bytes taken so far. */
  #offset = 0;
  /** Content of the open entry still to come. */
  #left = 0;
  /** Padding up to the next block still to come. */
  #padding = 0;
  /** Blocks of zeroes seen in a row. */
  #zeroBlocks = 0;

  constructor(handler: TarHandler) {
    this.#handler = handler;
  }

  push(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      const count = this.#step(bytes, at);
      at += count;
      this.#offset += count;
    }
  }

  /** Throws PROTOCOL if the archive ends within an entry. */
  end(): void {
    if (this.#left > 0) throw malformed(this.#offset, `it ends ${this.#left} bytes before the end of a file`);
    if (this.#headerFilled > 0) throw malformed(this.#offset, 'it ends within a header');
    // Missing padding after the last file loses nothing.
  }

  /** Takes some bytes from `at` on and says how many. */
  #step(bytes: Uint8Array, at: number): number {
    const have = bytes.length - at;
    if (this.#left > 0) return this.#content(bytes, at, Math.min(have, this.#left));
    if (this.#padding > 0) {
      const count = Math.min(have, this.#padding);
      this.#padding -= count;
      return count;
    }
    if (this.#headerFilled === 0 && have >= blockSize) {
      this.#block(bytes.subarray(at, at + blockSize), this.#offset);
      return blockSize;
    }
    const count = Math.min(have, blockSize - this.#headerFilled);
    this.#header.set(bytes.subarray(at, at + count), this.#headerFilled);
    this.#headerFilled += count;
    if (this.#headerFilled === blockSize) {
      this.#headerFilled = 0;
      this.#block(this.#header, this.#offset + count - blockSize);
    }
    return count;
  }

  #content(bytes: Uint8Array, at: number, count: number): number {
    this.#handler.data(at === 0 && count === bytes.length ? bytes : bytes.subarray(at, at + count));
    this.#left -= count;
    if (this.#left === 0) this.#handler.entryEnd();
    return count;
  }

  #block(block: Uint8Array, offset: number): void {
    if (block[0] === 0 && block.every((byte) => byte === 0)) {
      this.#zeroBlocks++;
      return;
    }
    if (this.#zeroBlocks > 0) throw malformed(offset, 'bytes after the end of the archive');
    const header = parseTarHeader(block, offset);
    this.#handler.entry(header);
    this.#left = header.size;
    this.#padding = (blockSize - (header.size % blockSize)) % blockSize;
    if (header.size === 0) this.#handler.entryEnd();
  }
}
