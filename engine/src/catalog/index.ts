/**
 * The catalog: what the backups of a database are and which one is meant. Pure functions over manifests; no input or
 * output. Invariant: the manifest is the only truth, so nothing here is stored.
 */
export { type BackupFacts, backupFacts, majorOf, physicalFacts } from './backup-facts.ts';
export { chooseBackup } from './choose-backup.ts';
export { continuousRanges, coveringPieces, type LedgerRange } from './log-ledger.ts';
export {
  type BackupMethod,
  kindOf,
  type LogicalFacts,
  logicalFacts,
  methodOf,
  volumeFacts,
} from './other-facts.ts';
export { type PathStep, pathFrom, pathTo, reachAlong } from './timeline-path.ts';
