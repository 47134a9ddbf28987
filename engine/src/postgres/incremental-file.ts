/**
 * `INCREMENTAL.<name>` files of PostgreSQL 17 and later: which blocks of a relation segment changed, and their content.
 * Layout, in the server's byte order (src/include/backup/basebackup_incremental.h, GetIncrementalHeaderSize):
 * magic, number of blocks, truncation block length, the block numbers (all uint32), zeroes up to a multiple of 8192 unless
 * there are no blocks, then the blocks. Blocks that are not listed and lie below the truncation length are unchanged; blocks
 * that are not listed at or above it are zero (src/bin/pg_combinebackup/reconstruct.c).
 */
import { HelvinoError } from '../base/errors.ts';

interface IncrementalHandler {
  /** Called once, before any data. `blocks` ascends. */
  header(header: { readonly truncationBlocks: number; readonly blocks: Uint32Array }): void;
  /** The content of the listed blocks, one after the other. A view that is valid during the call only. */
  data(bytes: Uint8Array): void;
}

const magic = 0xd3ae1f0d;
const blockSize = 8192;
/** Blocks of a segment file of 1 GiB (RELSEG_SIZE). */
const segmentBlocks = 131_072;
const fixedSize = 12;

/** Throws HelvinoError PROTOCOL; must not be used again after that. */
export class IncrementalFileReader {
  readonly #handler: IncrementalHandler;
  /** First the fixed part; then the fixed part and the block numbers. */
  #head = new Uint8Array(fixedSize);
  #filled = 0;
  /** Undefined until the fixed part is known. */
  #count: number | undefined;
  #padding = 0;
  /** Bytes of content still to come; -1 until the header is complete. */
  #left = -1;

  constructor(handler: IncrementalHandler) {
    this.#handler = handler;
  }

  push(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0) {
      if (this.#left < 0) rest = this.#takeHeader(rest);
      else if (this.#padding > 0) {
        const count = Math.min(rest.length, this.#padding);
        this.#padding -= count;
        rest = rest.subarray(count);
      } else {
        if (rest.length > this.#left) throw malformed(`${rest.length - this.#left} bytes too many`);
        this.#left -= rest.length;
        this.#handler.data(rest);
        return;
      }
    }
  }

  end(): void {
    if (this.#left < 0) throw malformed('it ends within its header');
    if (this.#left > 0 || this.#padding > 0)
      throw malformed(`it is ${this.#left + this.#padding} bytes too short`);
  }

  #takeHeader(bytes: Uint8Array): Uint8Array {
    const count = Math.min(bytes.length, this.#head.length - this.#filled);
    this.#head.set(bytes.subarray(0, count), this.#filled);
    this.#filled += count;
    if (this.#filled === this.#head.length) {
      if (this.#count === undefined) this.#fixedPart();
      if (this.#filled === this.#head.length) this.#complete();
    }
    return bytes.subarray(count);
  }

  #fixedPart(): void {
    const view = new DataView(this.#head.buffer);
    const found = view.getUint32(0, true);
    if (found !== magic)
      throw malformed(`its magic number is 0x${found.toString(16)}, not 0x${magic.toString(16)}`);
    const count = view.getUint32(4, true);
    if (count > segmentBlocks) throw malformed(`it claims ${count} blocks`);
    if (this.#truncationBlocks() > segmentBlocks)
      throw malformed(`its truncation length is ${this.#truncationBlocks()} blocks`);
    this.#count = count;
    const whole = new Uint8Array(fixedSize + count * 4);
    whole.set(this.#head);
    this.#head = whole;
  }

  #truncationBlocks(): number {
    return new DataView(this.#head.buffer).getUint32(8, true);
  }

  #complete(): void {
    const count = this.#count!;
    const view = new DataView(this.#head.buffer);
    const blocks = new Uint32Array(count);
    let before = -1;
    for (let i = 0; i < count; i++) {
      const block = view.getUint32(fixedSize + i * 4, true);
      if (block <= before || block >= segmentBlocks)
        throw malformed(`block number ${block} comes after ${before}`);
      blocks[i] = block;
      before = block;
    }
    this.#left = count * blockSize;
    this.#padding = count === 0 ? 0 : (blockSize - (this.#head.length % blockSize)) % blockSize;
    const truncationBlocks = this.#truncationBlocks();
    this.#head = new Uint8Array(0);
    this.#handler.header({ truncationBlocks, blocks });
  }
}

function malformed(problem: string): HelvinoError {
  return new HelvinoError('PROTOCOL', `malformed incremental file: ${problem}`);
}
