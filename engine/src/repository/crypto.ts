/**
 * All cryptography of the repository in one place: key derivation (HKDF-SHA-256), authenticated encryption
 * (AES-256-GCM) and the keyed content hash (GMAC). Each derived key has exactly one use, so that no key and nonce pair
 * can ever be used for two messages.
 */
import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { copyBytes } from '../base/aligned-memory.ts';

export const tagLength = 16;
export const contentHashLength = 16;
const algorithm = 'aes-256-gcm';
const zeroNonce = Buffer.alloc(12);

export function newKey(): Buffer {
  return randomBytes(32);
}

/** 16 bytes that make a derived key unique. */
export function newSalt(): Buffer {
  return randomBytes(16);
}

/** 16 hexadecimal digits that name a key without telling anything about it. */
export function keyIdOf(key: Uint8Array): string {
  return createHash('sha256').update('helvino key id v1\0').update(key).digest('hex').slice(0, 16);
}

/** A 32-byte key for one purpose and one place. */
export function deriveKey(key: Uint8Array, salt: Uint8Array, purpose: string): Buffer {
  return Buffer.from(hkdfSync('sha256', key, salt, `helvino ${purpose} v1`, 32));
}

/**
 * Encrypts `plain` under a key that is used for this one message (zero nonce) or numbered messages (`number`): text, then tag.
 */
export function seal(key: Uint8Array, plain: Uint8Array, aad: Uint8Array, number = 0): Buffer {
  const sealed = Buffer.allocUnsafeSlow(plain.length + tagLength);
  sealInto({ key, aad, number }, plain, sealed, 0);
  return sealed;
}

/**
 * As `seal`, laid into `into` at `at`; returns the length. In slices that the C library gives
 * out of memory that it has: a result at once would be new memory each time.
 */
export function sealInto(
  { key, aad, number = 0 }: { key: Uint8Array; aad: Uint8Array; number?: number },
  plain: Uint8Array,
  into: Uint8Array,
  at: number,
): number {
  const cipher = createCipheriv(algorithm, key, nonceOf(number));
  cipher.setAAD(aad);
  copySlices(cipher, plain, into, at);
  cipher.final();
  into.set(cipher.getAuthTag(), at + plain.length);
  return plain.length + tagLength;
}

/** As `unseal`, laid into `into`: how many bytes, or undefined. What is in `into` then is not to be used. */
export function unsealInto(
  { key, aad, number = 0 }: { key: Uint8Array; aad: Uint8Array; number?: number },
  sealed: Uint8Array,
  into: Uint8Array,
): number | undefined {
  if (sealed.length < tagLength) return undefined;
  const length = sealed.length - tagLength;
  const decipher = createDecipheriv(algorithm, key, nonceOf(number));
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(length));
  copySlices(decipher, sealed.subarray(0, length), into, 0);
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return length;
}

/** Below what the C library maps anew each time (128 KiB). */
const sliceLength = 96 << 10;

function copySlices(
  cipher: { update(bytes: Uint8Array): Buffer },
  from: Uint8Array,
  into: Uint8Array,
  at: number,
): void {
  for (let done = 0; done < from.length; ) {
    const slice = cipher.update(from.subarray(done, done + sliceLength));
    copyBytes(slice, into, at + done);
    done += slice.length;
    // Given back now: the garbage collector would let hundreds of them wait.
    if (slice.buffer instanceof ArrayBuffer && slice.buffer.byteLength === slice.length)
      slice.buffer.transfer(0);
  }
}

/** The plain bytes, or undefined when the bytes, the key, the number or the place is not the right one. */
export function unseal(key: Uint8Array, sealed: Uint8Array, aad: Uint8Array, number = 0): Buffer | undefined {
  const plain = Buffer.allocUnsafeSlow(Math.max(0, sealed.length - tagLength));
  return unsealInto({ key, aad, number }, sealed, plain) === undefined ? undefined : plain;
}

function nonceOf(number: number): Buffer {
  if (number === 0) return zeroNonce;
  const nonce = Buffer.alloc(12);
  nonce.writeUInt32BE(number, 8);
  return nonce;
}

/**
 * The keyed content hash: GMAC (AES-256-GCM over no plain text) with a fixed nonce, under a key of its own. For someone
 * who has neither the key nor hashes it is a universal hash: two different contents collide with a chance under 2^-108.
 * Hashes are only ever stored encrypted. It is ten times faster than SHA-256 here (docs/adr/0002-content-hash.md).
 */
export class ContentHasher {
  readonly #key: Uint8Array;

  constructor(key: Uint8Array) {
    this.#key = key;
  }

  /** 16 bytes. */
  hash(bytes: Uint8Array): Buffer {
    const cipher = createCipheriv(algorithm, this.#key, zeroNonce);
    cipher.setAAD(bytes);
    cipher.final();
    return cipher.getAuthTag();
  }
}
