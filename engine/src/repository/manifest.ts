/**
 * The manifest: the one object that makes a backup. It names every pack and every block, so that a backup is restored
 * from it alone. JSON in an envelope (envelope.ts).
 */
import { z } from 'zod';
import { HelvinoError } from '../base/errors.ts';
import { damagedObject, openEnvelope, sealEnvelope } from './envelope.ts';
import type { CatalogRing } from './keys.ts';

const manifestFormat = 1;
const magic = 'HVMANF1\n';

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
const packFacts = z.object({
  id: z.string(),
  keyId: z.string(),
  size: z.number().int(),
  structure: z.boolean().optional(),
});

const manifestSchema = z.object({
  format: z.number().int(),
  id: z.string(),
  database: z.string(),
  kind: z.enum(['full', 'incremental']),
  /** The backup that this one was compared with; it is not needed to restore. */
  parent: z.string().optional(),
  /** When the newest full backup in its line began; ISO 8601, UTC. */
  lastFull: z.string(),
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
  /** Ids of the data keys that a restore needs. */
  keys: z.array(z.string()),
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
  return sealEnvelope(Buffer.from(JSON.stringify({ format: manifestFormat, ...draft })), {
    ring,
    name,
    magic,
  });
}

/** Throws REPOSITORY_DAMAGED, REPOSITORY_TOO_NEW or KEY_WRONG. */
export function decodeManifest(bytes: Uint8Array, ring: CatalogRing, name: string): Manifest {
  const json: unknown = JSON.parse(Buffer.from(openEnvelope(bytes, { ring, name, magic })).toString('utf8'));
  const format = (json as { format?: unknown } | null)?.format;
  if (typeof format === 'number' && format > manifestFormat) {
    throw new HelvinoError(
      'REPOSITORY_TOO_NEW',
      `${name} has format ${format}; this version reads up to ${manifestFormat}`,
      {
        hint: 'use a newer Helvino',
        context: { object: name, format },
      },
    );
  }
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) throw damagedObject(name, z.prettifyError(parsed.error));
  return parsed.data;
}
