/** Whether the bytes of one object are what was written under its name, before they are stored anywhere else. */
import { damagedObject, type Magic, openEnvelope } from './envelope.ts';
import { checkPublicKey } from './evidence.ts';
import { freeBytes } from './free-bytes.ts';
import { type CatalogRing, contentHasherOf } from './keys.ts';
import {
  descriptorName,
  evidenceKeysPrefix,
  ledgerPrefix,
  packsPrefix,
  removedLogPrefix,
  trashPrefix,
} from './layout.ts';
import { checkLogPiece, logPrefix } from './log-store.ts';
import { readPackContents } from './pack-reader.ts';

const envelopes: readonly Magic[] = [
  'HVMANF1\n',
  'HVPROOF\n',
  'HVHIST1\n',
  'HVNOTE1\n',
  'HVHOLD1\n',
  'HVVERI1\n',
  'HVREPT1\n',
  'HVGONE1\n',
  'HVRUN_1\n',
];
/** Objects that say all they say by being there. */
const emptyOnes = [ledgerPrefix, trashPrefix, removedLogPrefix];
/** https://github.com/C2SP/C2SP/blob/main/age.md */
const sealing = 'age-encryption.org/v1';

/**
 * Every byte of packs, WAL, manifests and the like. Of a sealed key only the beginning can be seen without the recovery
 * identity. Throws REPOSITORY_DAMAGED, KEY_WRONG.
 */
export async function checkObject(name: string, bytes: Uint8Array, ring: CatalogRing): Promise<void> {
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (name.startsWith(packsPrefix)) return checkPack(name, whole, ring);
  if (name.startsWith(logPrefix) && /\/[0-9A-F]{16}-[0-9A-F]{16}$/.test(name)) {
    checkLogPiece(whole, name, ring);
    return;
  }
  if (name.startsWith('keys/')) {
    if (!whole.toString('latin1', 0, sealing.length).startsWith(sealing))
      throw damagedObject(name, 'it is no sealed key');
    return;
  }
  if (name.startsWith(evidenceKeysPrefix)) {
    checkPublicKey(name, whole);
    return;
  }
  if (name === descriptorName) return;
  if (whole.length === 0 && emptyOnes.some((prefix) => name.startsWith(prefix))) return;
  const magic = envelopes.find((one) => whole.toString('latin1', 0, 8) === one);
  if (magic === undefined) throw damagedObject(name, 'it does not begin as it should');
  freeBytes(openEnvelope(whole, { ring, name, magic }));
}

async function checkPack(name: string, bytes: Buffer, ring: CatalogRing): Promise<void> {
  const id = name.slice(name.lastIndexOf('/') + 1);
  const alone = {
    head: async () => ({ name, size: bytes.length, modified: new Date(0) }),
    get: async (_: string, { offset, length } = { offset: 0, length: bytes.length }) =>
      bytes.subarray(offset, offset + length),
  };
  const { chunks, identity } = await readPackContents(alone, id, ring);
  const hasher = contentHasherOf(ring.find(identity.catalogKeyId)!);
  for (const chunk of chunks) {
    if (!hasher.hash(bytes.subarray(chunk.offset, chunk.offset + chunk.stored)).equals(chunk.storedHash))
      throw damagedObject(name, 'its stored bytes were changed');
  }
}
