/**
 * Opens pieces of a log one after the other in memory that is used again. The result is valid until the next call: a segment
 * is 16 MiB, and where new memory is dear to find it would cost more than to decrypt and decompress it.
 */
import { unsealInto } from './crypto.ts';
import { damagedObject } from './envelope.ts';
import { bodyOfPiece, lengthOfPiece } from './log-store.ts';
import { Decompressor } from './zstd.ts';

export class PieceOpener {
  readonly #decompressor = new Decompressor();
  #packed = Buffer.alloc(0);
  #plain = Buffer.alloc(0);

  /** The plain bytes of a piece that its name says is as long as that. Throws REPOSITORY_DAMAGED. */
  open(sealed: Uint8Array, name: string, dataKey: Uint8Array): Uint8Array {
    const { key, body, aad } = bodyOfPiece(sealed, name, dataKey);
    if (this.#packed.length < body.length) this.#packed = Buffer.allocUnsafeSlow(body.length);
    const packed = unsealInto({ key, aad }, body, this.#packed);
    if (packed === undefined) throw damagedObject(name, 'it was changed or cut');
    const length = lengthOfPiece(name);
    // A byte more than the piece has: its end must be seen.
    if (this.#plain.length <= length) this.#plain = Buffer.allocUnsafeSlow(length + 1);
    try {
      this.#decompressor.decompress(this.#packed.subarray(0, packed), this.#plain, length);
    } catch (thrown) {
      throw damagedObject(name, `it does not decompress (${(thrown as Error).message})`);
    }
    return this.#plain.subarray(0, length);
  }
}
