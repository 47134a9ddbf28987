/**
 * The repository: what Helvino keeps in a store. It knows chunks, packs, manifests, keys and leases; it does not know
 * PostgreSQL. The format is described byte by byte in `docs/design/repository-format.md`.
 *
 * Invariants:
 * - Every object is written once, under a new name; a backup exists when its manifest does, and the manifest is last.
 * - Data chunks are readable only with a data key, which is stored sealed to the recovery recipients and nowhere else.
 *   Structure (manifests, file blocks, pack directories) is readable with the catalog key.
 * - Every byte read is authenticated before it is used; a failure names the object.
 * - Nothing is removed that a manifest or a live lease names.
 */
export { ContentHasher } from './crypto.ts';
export { DecoderPool, type DecodedPiece } from './decoder-pool.ts';
export { EncoderPool, type EncodedSegment } from './encoder-pool.ts';
export { type Extent, type FileEntry, overlayExtents, totalLength } from './extents.ts';
export { openIdentities, createIdentity, recipientOf, type CatalogRing } from './keys.ts';
export { type Manifest, type ManifestDraft } from './manifest.ts';
export { createRepository, openRepository, type Repository } from './repository.ts';
