/**
 * The envelope of small structure objects (manifests, proofs): 8 bytes magic, 8 bytes catalog key id, 12 bytes random
 * salt, then AES-256-GCM text and tag of zstd-compressed bytes under deriveKey(catalog key, salt, magic), with the first
 * 28 bytes and the object's name as associated data: an object under another name does not open.
 */
import { randomBytes } from 'node:crypto';
import { HelvinoError } from '../base/errors.ts';
import { deriveKey, seal, unseal } from './crypto.ts';
import { freeBytes } from './free-bytes.ts';
import type { CatalogRing } from './keys.ts';
import { compress, decompress } from './pack-format.ts';

const headLength = 28;
const largest = 1 << 30;

/** Which kind of object: eight characters, the last a line feed. */
export type Magic =
  | 'HVMANF1\n'
  | 'HVPROOF\n'
  | 'HVHIST1\n'
  | 'HVNOTE1\n'
  | 'HVHOLD1\n'
  | 'HVVERI1\n'
  | 'HVRUN_1\n'
  | 'HVREPT1\n'
  | 'HVGONE1\n';

/** `level`: zstd's. */
export function sealEnvelope(
  plain: Uint8Array,
  { ring, name, magic, level = 3 }: { ring: CatalogRing; name: string; magic: Magic; level?: number },
): Buffer {
  const head = Buffer.concat([Buffer.from(magic), Buffer.from(ring.currentId, 'hex'), randomBytes(12)]);
  const key = deriveKey(ring.current, head.subarray(16), magic.trimEnd());
  return Buffer.concat([head, seal(key, compress(plain, level), Buffer.concat([head, Buffer.from(name)]))]);
}

/** Throws REPOSITORY_DAMAGED or KEY_WRONG. */
export function openEnvelope(
  bytes: Uint8Array,
  { ring, name, magic }: { ring: CatalogRing; name: string; magic: Magic },
): Uint8Array {
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const head = whole.subarray(0, headLength);
  if (whole.length < headLength || head.toString('latin1', 0, 8) !== magic)
    throw damagedObject(name, 'it does not begin as it should');
  const key = catalogKeyOf(ring, head.toString('hex', 8, 16), name);
  const aad = Buffer.concat([head, Buffer.from(name)]);
  const packed = unseal(deriveKey(key, head.subarray(16), magic.trimEnd()), whole.subarray(headLength), aad);
  if (packed === undefined) throw damagedObject(name, 'it was changed or cut');
  const plain = decompress(packed, 1, largest, name);
  freeBytes(packed);
  return plain;
}

/** The catalog key that an object names. Throws KEY_WRONG when the ring lacks it. */
export function catalogKeyOf(ring: CatalogRing, keyId: string, name: string): Buffer {
  const key = ring.find(keyId);
  if (key === undefined) {
    throw new HelvinoError(
      'KEY_WRONG',
      `${name} is sealed with the catalog key ${keyId}, which was not given`,
      {
        hint: 'give the catalog key of this repository; `helvino key kit` tells how to get it back with the recovery identity',
        context: { object: name, keyId, given: ring.keys.length },
      },
    );
  }
  return key;
}

export function damagedObject(name: string, why: string): HelvinoError {
  return new HelvinoError('REPOSITORY_DAMAGED', `${name} is damaged: ${why}`, {
    hint: 'this backup cannot be restored from this copy; use another backup or another copy of the repository',
    context: { object: name },
  });
}
