/** The table of verbs, in the order that the help shows them. */
import type { Verb } from '../verb.ts';
import { backupVerb } from './backup.ts';
import { collectVerb } from './collect.ts';
import { completionVerb } from './completion.ts';
import { configVerbs } from './config.ts';
import { copyVerb } from './copy.ts';
import { demoVerb } from './demo.ts';
import { doctorVerb } from './doctor.ts';
import { drillPlansVerb, drillVerb } from './drill.ts';
import { drillEvidenceVerbs } from './drill-evidence.ts';
import { drillReportVerbs } from './drill-report.ts';
import { exportVerb } from './export.ts';
import { findVerb } from './find.ts';
import { healVerb } from './heal.ts';
import { healthVerb, statusVerb } from './health.ts';
import { holdVerbs } from './hold.ts';
import { importVerb } from './import.ts';
import { initVerb } from './init.ts';
import { keyVerbs } from './key.ts';
import { lifecycleVerbs } from './lifecycle.ts';
import { listVerb } from './list.ts';
import { lockVerb } from './lock.ts';
import { openVerb } from './open.ts';
import { removeVerb } from './remove.ts';
import { rescueVerbs } from './rescue.ts';
import { restoreVerb } from './restore.ts';
import { retentionVerbs } from './retention.ts';
import { showVerb } from './show.ts';
import { swapVerbs } from './swap.ts';
import { verifyVerb } from './verify.ts';
import { versionVerb } from './version.ts';
import { walVerbs } from './wal.ts';
import { walReceiveVerbs } from './wal-receive.ts';

export const verbs: readonly Verb[] = [
  demoVerb,
  initVerb,
  doctorVerb,
  statusVerb,
  healthVerb,
  backupVerb,
  ...walVerbs,
  ...walReceiveVerbs,
  listVerb,
  showVerb,
  drillVerb,
  ...drillReportVerbs,
  ...drillEvidenceVerbs,
  drillPlansVerb,
  restoreVerb,
  ...swapVerbs,
  openVerb,
  findVerb,
  ...rescueVerbs,
  exportVerb,
  importVerb,
  verifyVerb,
  ...retentionVerbs,
  ...holdVerbs,
  copyVerb,
  healVerb,
  lockVerb,
  ...lifecycleVerbs,
  collectVerb,
  removeVerb,
  ...keyVerbs,
  ...configVerbs,
  completionVerb(() => verbs),
  versionVerb,
];
