/**
 * PostgreSQL, as Helvino needs it: connections, the replication protocol, file formats, and servers that Helvino starts
 * itself. It knows nothing of repositories.
 *
 * Invariants:
 * - Whatever leaves a function here is a HelvinoError: unreachable, login, TLS, gone mid-way and server-side errors are told
 *   apart, keep the server's SQLSTATE and message as context, and never contain a password.
 * - Bulk bytes (base backup, WAL) are never copied here: sinks get views that are valid during the call only.
 * - Nothing is acknowledged to the server on our own account: the owner of a WAL stream says what is durable.
 */

export { amcheckDatabase } from './amcheck.ts';
export { backupManifest } from './backup-manifest.ts';
export { BadPages } from './bad-pages.ts';
export { findBinaries, type ServerBinaries } from './binaries.ts';
export { type CatalogSnapshot, parseCatalogSnapshot, takeCatalogSnapshot } from './catalog-snapshot.ts';
export { checkConstraints } from './check-constraints.ts';
export { checkSequences } from './check-sequences.ts';
export {
  type ClientPrograms,
  ClientRun,
  databaseArgument,
  findClientPrograms,
  programEnvironment,
} from './client-programs.ts';
export { type ComparedTable, compareFingerprints } from './compare-fingerprints.ts';
export { connectSql } from './connect.ts';
export { type ConnectionParams, describeConnection, resolveConnection } from './conninfo.ts';
export { parseConnectionString } from './conninfo-parse.ts';
export { readControlFile } from './control-file.ts';
export { type CopyWriter, copyIn, copyOut } from './copy-rows.ts';
export {
  applyDatabaseProperties,
  type DatabaseProperties,
  readDatabaseProperties,
} from './database-properties.ts';
export { verifyDirectoryChecksums } from './directory-checksums.ts';
export { type FetchReport, type FilePiece, fetchFileModule } from './file-pieces.ts';
export { fingerprintDatabase, quoteIdentifier, type TableFingerprint } from './fingerprint.ts';
export { IncrementalFileReader } from './incremental-file.ts';
export { liftLimits, withoutIdleLimit } from './lift-limits.ts';
export { initCluster, type LocalServer, type StartOptions, startLocalServer } from './local-server.ts';
export {
  backendPid,
  beginLowLevelBackup,
  type DataPlace,
  endLowLevelBackup,
  hasSlot,
  isLocalSession,
  mayBeginBackup,
  readDatabaseFolders,
  readDataPlace,
  readTablespaces,
} from './low-level-backup.ts';
export {
  formatLsn,
  parseLsn,
  parseWalFileName,
  timelineHistoryName,
  walFileName,
  walSegmentBegin,
} from './lsn.ts';
export { freePort, giveUrl, makeReader } from './network-access.ts';
export { type OneValue, oneValue, timeOf } from './one-value.ts';
export { openDatabase } from './open-database.ts';
export { printSettings } from './print-settings.ts';
export { type QuietPoint, takeQuietPoint } from './quiet-point.ts';
export { type RelationFile, relationsByFile } from './relation-map.ts';
export { assertPlainLabel } from './replication/base-backup.ts';
export { openReplication, type ReplicationConnection } from './replication/replication-connection.ts';
export type { WalSink, WalStream } from './replication/wal-stream.ts';
export {
  comparePairs,
  openDatabases,
  readSchemaFacts,
  type SchemaFacts,
} from './schema-facts.ts';
export { createScratch, type Scratch, sweepScratch } from './scratch.ts';
export { assertOwner, openSourceFile, serverSends, sourceUnreadable } from './source-file.ts';
export { execute, query, queryError } from './sql.ts';
export { parseTimelineHistory, type TimelineSwitch } from './timeline-history.ts';
export { dropsDatabase, marksDatabase } from './wal/database-drop.ts';
export {
  decodeLogIndex,
  encodeLogIndex,
  type IndexedTransaction,
  type IndexState,
  type LogIndexPart,
  type RelationChange,
  type WalDamage,
} from './wal/log-index.ts';
export { readSegmentHeader, type SegmentHeader } from './wal/segment-header.ts';
export { type WalEvent, walEvent } from './wal/transaction-records.ts';
export { WalIndexer, type WalIndexerOptions } from './wal/wal-indexer.ts';
export { WalReader, type WalRecord } from './wal/wal-reader.ts';
export { type DirectoryItem, walkDataDirectory } from './walk-data-directory.ts';
export type { WalPositions } from './wire/frontend-messages.ts';
export { withSql } from './with-sql.ts';
