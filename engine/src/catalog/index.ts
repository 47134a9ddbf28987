/**
 * The catalog: what the backups of a database are and which one is meant. Pure functions over manifests; no input or
 * output. Invariant: the manifest is the only truth, so nothing here is stored.
 */
export { type BackupFacts, backupFacts, majorOf, physicalFacts } from './backup-facts.ts';
export {
  formatAge,
  type HealthCheck,
  type HealthObjectives,
  type JudgedBackup,
  judgeBackups,
  type Severity,
} from './backup-health.ts';
export { chooseBackup } from './choose-backup.ts';
export { bytesOf, type ForecastMonth, forecast } from './forecast.ts';
export {
  damagedEnds,
  type GapReason,
  gapReasons,
  gapsBetween,
  type LedgerGap,
  type RecordedGap,
  withoutDamage,
} from './log-gaps.ts';
export {
  continuousRanges,
  coveringPieces,
  fewestPieces,
  type LedgerPiece,
  type LedgerRange,
  outside,
} from './log-ledger.ts';
export { type LogStart, removableLog } from './log-retention.ts';
export {
  type BackupMethod,
  kindOf,
  type LogicalFacts,
  logicalFacts,
  methodOf,
  type VolumeFacts,
  volumeFacts,
} from './other-facts.ts';
export { anchors, planRetention } from './retention.ts';
export type { BackupState, Decision, RetentionBackup, RetentionPolicy } from './retention-types.ts';
export { type PathStep, pathFrom, pathTo, pathUntil, reachAlong, timelineAt } from './timeline-path.ts';
