/**
 * Opens chunks one after the other in memory that is used again: what `openChunk` does once, for threads that do nothing else.
 * The plain bytes begin at a page of the processor, so that they can go to a file past the page cache as they are; those of
 * chunks of whole pages lie end to end, so that neighbours can go there at once.
 */
import { alignedMemory, directAlignment } from '../base/aligned-memory.ts';
import { tagLength, unsealInto } from './crypto.ts';
import { maxChunk } from './pack-builder.ts';
import { chunkPlace, damagedPack } from './pack-format.ts';
import { Decompressor } from './zstd.ts';

/** Plain bytes that are kept. */
const roomBytes = 4 << 20;

export class ChunkOpener {
  readonly #decompressor = new Decompressor();
  #packed = Buffer.alloc(0);
  #plain: Uint8Array | undefined;
  #used = 0;

  /** Whether so many bytes can be opened without `clear`. */
  hasRoom(raw: number): boolean {
    return this.#used === 0 || this.#used + raw <= roomBytes;
  }

  /** What was opened before is no longer valid. */
  clear(): void {
    this.#used = 0;
  }

  /** As `openChunk`; the result is valid until `clear`. Only to be called when there is room. */
  open(
    key: Uint8Array,
    { pack, index, raw }: { pack: string; index: number; raw: number },
    sealed: Uint8Array,
  ): Uint8Array {
    const most = Math.max(0, sealed.length - tagLength);
    if (this.#packed.length < most) this.#packed = Buffer.allocUnsafeSlow(Math.max(most, maxChunk));
    const plain = this.#place(raw);
    const aad = chunkPlace(Buffer.from(pack, 'hex'), index);
    const stored = most === raw;
    const into = stored ? plain : this.#packed;
    const length = unsealInto({ key, aad, number: index }, sealed, into);
    if (length === undefined) throw damagedPack(pack, `chunk ${index} was changed`);
    if (!stored) this.#decompress(this.#packed.subarray(0, length), plain, { pack, index, raw });
    this.#used += Math.ceil(raw / directAlignment) * directAlignment;
    return plain.subarray(0, raw);
  }

  /** A byte longer than the chunk: its end must be seen. */
  #place(raw: number): Uint8Array {
    if (this.#plain === undefined || this.#plain.length <= this.#used + raw)
      this.#plain = new Uint8Array(alignedMemory(Math.max(this.#used + raw, roomBytes) + directAlignment));
    return this.#plain.subarray(this.#used);
  }

  #decompress(
    packed: Uint8Array,
    plain: Uint8Array,
    { pack, index, raw }: { pack: string; index: number; raw: number },
  ): void {
    try {
      this.#decompressor.decompress(packed, plain, raw);
    } catch (thrown) {
      throw damagedPack(pack, `chunk ${index} does not decompress (${(thrown as Error).message})`);
    }
  }
}
