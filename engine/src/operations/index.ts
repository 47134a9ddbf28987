/**
 * Operations: what a user asks for, each a procedure that reads as a list of steps with its phases in files of their own.
 * Here storage, repository and PostgreSQL meet. Invariants: data before manifest; plan before apply; what did not run is
 * `unproven`, never `passed`; nothing is left behind when an operation ends, however it ends.
 */
export { backup } from './backup/backup.ts';
export { type CopyOptions, type CopyPlan, type CopyReport, copy, copyLog, planCopy } from './copies/copy.ts';
export { heal, mendDescriptor, planHeal } from './copies/heal.ts';
export type { DemoAccident } from './demo/accident.ts';
export { type DemoResult, demo } from './demo/demo.ts';
export { drill } from './drill/drill.ts';
export {
  bundleName,
  CurrentFacts,
  chooseDrill,
  collectEvidence,
  createSigningKey,
  type EvidenceOptions,
  type KnownDrill,
  knownDrills,
  makeBundle,
  measureOf,
  openPoints,
  type ProofState,
  type PublicKey,
  predictionError,
  predictRecovery,
  proofState,
  proofText,
  type ReportFormat,
  readPublicKey,
  readSigningKey,
  reportFormats,
  signingKeyFile,
  verifyBundle,
  verifyReport,
  writeReport,
} from './drill/report/index.ts';
export { type DrillReport, recoveryTime } from './drill/report.ts';
export { runPlan } from './drill/run-plan.ts';
export {
  type FindResult,
  type FoundTransaction,
  findTransactions,
} from './find/find.ts';
export { parseMoment } from './find/moment.ts';
export { type HealthReport, health, unknownHealth, worst } from './health/health.ts';
export { changeFutureRecipients, changeRecipients, rotateCatalogKey } from './keys/change-keys.ts';
export { renderKit } from './keys/kit.ts';
export { applyLifecycle, type LifecyclePlan, planLifecycle } from './lifecycle/plan.ts';
export { thawBackup } from './lifecycle/thaw.ts';
export { bytesOfAlone, type ListedBackup, listBackups } from './list.ts';
export { extendLocks } from './lock/extend-lock.ts';
export { type ApplicationSteps, noApplication } from './logical/application.ts';
export { type DumpSource, dumpInBackup, dumpInFile } from './logical/dump-source.ts';
export { logicalBackup } from './logical/logical-backup.ts';
export { dumpToFile, type PlainFileResult } from './logical/plain-file.ts';
export {
  connectAside,
  leftoverWords,
  planRestoreDatabase,
  type RestoreDatabaseResult,
  restoreDatabase,
} from './logical/restore-database.ts';
export { dropKept, findKept, type KeptDatabase, listKept, undoSwap } from './logical/swap.ts';
export {
  connectionOf,
  openArchive,
  openConfigured,
  openMirrors,
  openStorage,
  openWithIdentity,
  parsePlace,
  surroundingsOf,
} from './open.ts';
export { type ExportResult, exportOrganization, openExport, planImport } from './rescue/export/index.ts';
export {
  type ApplyResult,
  applyRescue,
  type PlanOptions,
  type PlanSummary,
  planRescue,
  type RescuePolicies,
  type RescueRoot,
  resolveRoot,
  type ShownFile,
  type ShownRow,
  showChanges,
  type TablePolicy,
  undoRescue,
} from './rescue/index.ts';
export { findRecovery, type Recovery } from './restore/find-recovery.ts';
export type { AfterRecovery } from './restore/finish.ts';
export { planRestore, restore } from './restore/restore.ts';
export { parseTarget } from './restore/target-words.ts';
export { type AppliedRetention, applyRetention } from './retention/apply.ts';
export { type KindPlan, objectivesOf, planRetentionOf, type RetentionPlan } from './retention/plan.ts';
export { recordRun } from './runs/record-run.ts';
export { checkClock } from './setup/check-clock.ts';
export { checkProofs } from './setup/check-proofs.ts';
export { checkServer, type Finding } from './setup/check-server.ts';
export { checkStore } from './setup/check-store.ts';
export { init } from './setup/init.ts';
export { type OpenedServer, openServer } from './throw-away-server.ts';
export { recordVerification } from './verify/record.ts';
export { type VerifyReport, verify } from './verify/verify.ts';
export { checkContainers } from './volume/left-containers.ts';
export { planRestoreVolume, restoreVolume } from './volume/restore-volume.ts';
export { volumeBackup } from './volume/volume-backup.ts';
export { type WalAlarm, walAlarms } from './wal/alarms.ts';
export { archiveClient, archiveCommand, writeArchiveClient } from './wal/archive-client.ts';
export { receiveWal } from './wal/receive.ts';
export { defaultSlot, streamConnection } from './wal/slot.ts';
export { readSourceState, type SourceState } from './wal/source-state.ts';
export { type WalStatus, walStatus } from './wal/status.ts';
export { streamWal } from './wal/stream.ts';
