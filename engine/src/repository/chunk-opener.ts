/**
 * Opens chunks one after the other in memory that is used again: what `openChunk` does once, for threads that do nothing else.
 * The plain bytes begin at a page of the processor, so that they can go to a file past the page cache as they are.
 */
import { alignedMemory, directAlignment } from '../base/aligned-memory.ts';
import { tagLength, unsealInto } from './crypto.ts';
import { maxChunk } from './pack-builder.ts';
import { chunkPlace, damagedPack } from './pack-format.ts';
import { Decompressor } from './zstd.ts';

export class ChunkOpener {
  readonly #decompressor = new Decompressor();
  #packed = Buffer.alloc(0);
  #plain: Uint8Array = new Uint8Array(0);

  /** As `openChunk`; the result is valid until the next call. */
  open(
    key: Uint8Array,
    { pack, index, raw }: { pack: string; index: number; raw: number },
    sealed: Uint8Array,
  ): Uint8Array {
    const most = Math.max(0, sealed.length - tagLength);
    if (this.#packed.length < most) this.#packed = Buffer.allocUnsafeSlow(Math.max(most, maxChunk));
    // A byte more than the chunk has: its end must be seen.
    if (this.#plain.length <= raw)
      this.#plain = new Uint8Array(alignedMemory(Math.max(raw, maxChunk) + directAlignment));
    const aad = chunkPlace(Buffer.from(pack, 'hex'), index);
    const stored = most === raw;
    const into = stored ? this.#plain : this.#packed;
    const length = unsealInto({ key, aad, number: index }, sealed, into);
    if (length === undefined) throw damagedPack(pack, `chunk ${index} was changed`);
    if (!stored) this.#decompress(this.#packed.subarray(0, length), { pack, index, raw });
    return this.#plain.subarray(0, raw);
  }

  #decompress(packed: Uint8Array, { pack, index, raw }: { pack: string; index: number; raw: number }): void {
    try {
      this.#decompressor.decompress(packed, this.#plain, raw);
    } catch (thrown) {
      throw damagedPack(pack, `chunk ${index} does not decompress (${(thrown as Error).message})`);
    }
  }
}
