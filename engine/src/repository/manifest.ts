/**
 * The manifest: the one object that makes a backup. It names every pack and every block, so that a backup is restored
 * from it alone. Sealed: 8 bytes "HVMANF1\n", 8 bytes catalog key id, 12 bytes random salt, then AES-256-GCM text and tag
 * of zstd-compressed JSON under deriveKey(catalog key, salt, "manifest"), with the first 28 bytes and the object's name as
 * associated data: a manifest under another name does not open.
 */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { HelvinoError } from '../base/errors.ts';
import { deriveKey, seal, unseal } from './crypto.ts';
import type { CatalogRing } from './keys.ts';
import { compress, decompress } from './pack-format.ts';

export const manifestFormat = 1;
const magic = Buffer.from('HVMANF1\n');
const headLength = 28;
const maxManifest = 1 << 30;

const structureRef = z.object({
  pack: z.string(),
  index: z.number().int(),
  offset: z.number().int(),
  stored: z.number().int(),
  raw: z.number().int(),
});
const blockRef = structureRef.extend({
  /** The path of its first file. */
  first: z.string(),
  files: z.number().int(),
  /** Content hash of the block's plain bytes, hexadecimal. */
  hash: z.string(),
});
const packFacts = z.object({ id: z.string(), keyId: z.string(), size: z.number().int(), structure: z.boolean().optional() });

const manifestSchema = z.object({
  format: z.number().int(),
  id: z.string(),
  database: z.string(),
  kind: z.enum(['full', 'incremental']),
  /** The backup that this one was compared with; it is not needed to restore. */
  parent: z.string().optional(),
  label: z.string().optional(),
  notes: z.record(z.string(), z.string()),
  /** ISO 8601, UTC. */
  started: z.string(),
  finished: z.string(),
  /** Version of Helvino. */
  program: z.string(),
  /** Which catalog key the content hashes are made under. */
  hashKeyId: z.string(),
  /** Every pack that a restore reads, and those of structure. */
  packs: z.array(packFacts),
  blocks: z.array(blockRef),
  /** Further structure, by name; each a list of chunks that are parts of one text of JSON lines. */
  sections: z.record(z.string(), z.array(structureRef)),
  totals: z.object({
    files: z.number().int(),
    /** Bytes of all files: what a restore writes. */
    bytes: z.number().int(),
    /** Bytes received from the server. */
    received: z.number().int(),
    /** Plain bytes that were new. */
    fresh: z.number().int(),
    /** Bytes added to the repository by this backup. */
    stored: z.number().int(),
    /** Bytes of all packs that this backup refers to. */
    referenced: z.number().int(),
  }),
  /** What the source says of itself; the repository does not look inside. */
  facts: z.record(z.string(), z.unknown()),
});

export type Manifest = z.infer<typeof manifestSchema>;
export type ManifestDraft = Omit<Manifest, 'format'>;
export type BlockRef = z.infer<typeof blockRef>;
export type StructureRef = z.infer<typeof structureRef>;

export function encodeManifest(draft: ManifestDraft, ring: CatalogRing, name: string): Buffer {
  const plain = compress(Buffer.from(JSON.stringify({ format: manifestFormat, ...draft })), 3);
  const head = Buffer.concat([magic, Buffer.from(ring.currentId, 'hex'), randomBytes(12)]);
  const [body, tag] = seal(deriveKey(ring.current, head.subarray(16), 'manifest'), plain, Buffer.concat([head, Buffer.from(name)]));
  return Buffer.concat([head, body, tag]);
}

/** Throws REPOSITORY_DAMAGED, REPOSITORY_TOO_NEW or KEY_WRONG. */
export function decodeManifest(bytes: Uint8Array, ring: CatalogRing, name: string): Manifest {
  const whole = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const head = whole.subarray(0, headLength);
  if (whole.length < headLength || !head.subarray(0, 8).equals(magic)) throw damaged(name, 'it does not begin like a manifest');
  const keyId = head.toString('hex', 8, 16);
  const key = ring.find(keyId);
  if (key === undefined) {
    throw new HelvinoError('KEY_WRONG', `${name} is sealed with the catalog key ${keyId}, which was not given`, {
      hint: 'give the catalog key of this repository; `helvino key kit` tells how to get it back with the recovery identity',
      context: { object: name, keyId, given: ring.keys.length },
    });
  }
  const aad = Buffer.concat([head, Buffer.from(name)]);
  const plain = unseal(deriveKey(key, head.subarray(16), 'manifest'), whole.subarray(headLength), aad);
  if (plain === undefined) throw damaged(name, 'it was changed or cut');
  return parse(Buffer.from(decompress(plain, 1, maxManifest, name)).toString('utf8'), name);
}

function parse(text: string, name: string): Manifest {
  const json: unknown = JSON.parse(text);
  const format = (json as { format?: unknown }).format;
  if (typeof format === 'number' && format > manifestFormat) {
    throw new HelvinoError('REPOSITORY_TOO_NEW', `${name} has format ${format}; this version reads up to ${manifestFormat}`, {
      hint: 'use a newer Helvino',
      context: { object: name, format },
    });
  }
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) throw damaged(name, z.prettifyError(parsed.error));
  return parsed.data;
}

function damaged(name: string, why: string): HelvinoError {
  return new HelvinoError('REPOSITORY_DAMAGED', `the manifest ${name} is damaged: ${why}`, {
    hint: 'this backup cannot be restored from this copy; use another backup or another copy of the repository',
    context: { object: name },
  });
}
