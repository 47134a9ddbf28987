/**
 * The manifest: the one object that makes a backup. It names every pack and every block, so that a backup is restored
 * from it alone. JSON in an envelope (envelope.ts).
 */
import * as z from 'zod';
import { HelvinoError } from '../base/errors.ts';
import { damagedObject, openEnvelope, sealEnvelope } from './envelope.ts';
import { freeBytes } from './free-bytes.ts';
import type { CatalogRing } from './keys.ts';
import { ManifestPacks, type PackFacts } from './manifest-packs.ts';
import { readManifestText } from './manifest-text.ts';

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
  /** Every pack that a restore reads, and those of structure. Read by hand: there may be hundreds of thousands. */
  packs: z.tuple([]).transform(() => new ManifestPacks()),
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

export type Manifest = z.output<typeof manifestSchema>;
/** Without what it names, which may be much. */
export type ManifestSummary = Omit<Manifest, 'packs' | 'blocks' | 'sections'>;
export type ManifestDraft = Omit<Manifest, 'format' | 'packs'> & { readonly packs: readonly PackFacts[] };
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
  const packs = new ManifestPacks();
  return { ...readManifest(bytes, { ring, name }, (pack) => packs.add(pack)), packs };
}

/** Gives each pack to `visit`, in order, and holds none of them. Throws as `decodeManifest`. */
export function decodeSummary(
  bytes: Uint8Array,
  { ring, name }: { ring: CatalogRing; name: string },
  visit: (pack: PackFacts) => void,
): ManifestSummary {
  const {
    packs: _,
    blocks: _blocks,
    sections: _sections,
    ...summary
  } = readManifest(bytes, { ring, name }, visit);
  return summary;
}

function readManifest(
  bytes: Uint8Array,
  { ring, name }: { ring: CatalogRing; name: string },
  visit: (pack: PackFacts) => void,
): Manifest {
  const plain = openEnvelope(bytes, { ring, name, magic });
  try {
    const text = readManifestText(Buffer.from(plain.buffer, plain.byteOffset, plain.byteLength));
    const manifest = parseManifest(text.rest, name);
    for (const pack of text.packs()) visit(checkedPack(pack, name));
    return manifest;
  } catch (thrown) {
    throw thrown instanceof SyntaxError ? damagedObject(name, thrown.message) : thrown;
  } finally {
    freeBytes(plain);
  }
}

function parseManifest(json: unknown, name: string): Manifest {
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

function checkedPack(value: unknown, name: string): PackFacts {
  const { id, keyId, size, structure } = (value ?? {}) as Partial<PackFacts>;
  const flag = structure === undefined || typeof structure === 'boolean';
  if (typeof id !== 'string' || typeof keyId !== 'string' || !Number.isSafeInteger(size) || !flag)
    throw damagedObject(name, 'it names a pack that is not laid out as it should be');
  return { id, keyId, size: size!, ...(structure === undefined ? {} : { structure }) };
}
