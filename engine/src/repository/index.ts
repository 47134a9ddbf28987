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
export { type WrittenBlocks, writeBlocks } from './block-writer.ts';
export { checkObject } from './check-object.ts';
export { applyCollect, type CollectPlan, planCollect, readMarks } from './collect.ts';
export { type Compaction, compactSparsePacks } from './compact.ts';
export type { ContentHasher } from './crypto.ts';
export {
  type ChunkProblem,
  type DecodeChunk,
  type DecodedPiece,
  DecoderPool,
} from './decoder-pool.ts';
export {
  type DataKeys,
  type EncodedSegment,
  type EncoderOptions,
  EncoderPool,
  type Slot,
  type StoredPack,
} from './encoder-pool.ts';
export {
  hasRemovedBackup,
  listPublicKeys,
  listRemovedBackups,
  listReports,
  newestReport,
  putPublicKey,
  putReport,
  type ReportQuery,
  type StoredReport,
} from './evidence.ts';
export { type ChunkRef, type Extent, type FileEntry, overlayExtents } from './extents.ts';
export { readFileContent } from './file-reader.ts';
export { isDead, thisProcess } from './holder.ts';
export { addHold, assertNotHeld, compareHolds, type Hold, liftHold, listHolds } from './holds.ts';
export { addCatalogKey, nextCatalogRing, planReseal, type ResealPlan, reseal } from './key-ring-changes.ts';
export {
  type CatalogRing,
  checkRecipient,
  contentHasherOf,
  createIdentity,
  formatCatalogRing,
  type Identities,
  openIdentities,
  parseCatalogRing,
  recipientOf,
  sealStream,
} from './keys.ts';
export {
  evidencePrefix,
  holdsPrefix,
  packName,
  proofPrefix,
  proofsPrefix,
  runsPrefix,
  verificationsPrefix,
} from './layout.ts';
export { Lease, leaseLifetimeMs, liveLeases } from './lease.ts';
export {
  type LogNote,
  listLogNotes,
  logNotes,
  openLogNote,
  putLogNote,
} from './log-notes.ts';
export type { LogSlice } from './log-opener-messages.ts';
export { LogOpenerPool } from './log-opener-pool.ts';
export { LogIndex, LogPieces } from './log-pieces.ts';
export { LogSealer } from './log-sealer.ts';
export {
  checkLogPiece,
  type LogPiece,
  listLog,
  listLogFiles,
  logFiles,
  logPieceKeyId,
  logPieceName,
  logPrefix,
  openLogFile,
  putLogFile,
  putLogPiece,
} from './log-store.ts';
export type { Manifest, ManifestSummary } from './manifest.ts';
export type { PackFacts } from './manifest-packs.ts';
export { type CopyState, Mirrors } from './mirrors.ts';
export { packCapacity } from './pack-builder.ts';
export { PackIds } from './pack-ids.ts';
export { PackList, type SizedPack } from './pack-list.ts';
export { type PackContents, readPackContents } from './pack-reader.ts';
export { PieceOpener } from './piece-opener.ts';
export { readBack } from './read-back.ts';
export { noteRemovedLog, type Removed, removedFrom } from './removed.ts';
export { type BackupName, createRepository, openRepository, type Repository } from './repository.ts';
export { retainBackup, retainLog, retainNeeds } from './retain-backup.ts';
export { listRuns, putRunNote, type RunNotes, readRunNote, removeOldRuns } from './run-notes.ts';
export { StructureWriter } from './structure.ts';
export {
  lastVerification,
  listVerifications,
  putVerification,
  readVerification,
  removeOldVerifications,
  verificationNames,
} from './verifications.ts';
export { WorkIndex } from './work-index.ts';
