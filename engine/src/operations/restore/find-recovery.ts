/** A recovery target as `restore` needs it: resolved, with the WAL that leads there. */
import { backupFacts } from '../../catalog/index.ts';
import { parseLsn } from '../../postgres/index.ts';
import type { Identities, Repository } from '../../repository/index.ts';
import { StoredLog } from '../wal/log-bytes.ts';
import { type ResolvedTarget, resolveTarget } from './resolve-target.ts';
import type { RecoveryTarget } from './target-words.ts';

export interface Recovery {
  readonly target: ResolvedTarget;
  readonly log: StoredLog;
}

export interface FindRecoveryOptions {
  readonly repository: Repository;
  readonly identities: Identities;
  readonly database: string;
  readonly target: Exclude<RecoveryTarget, { kind: 'backup' }>;
  readonly timeline?: number;
  readonly signal: AbortSignal;
}

/** Throws TARGET_UNREACHABLE, TARGET_AMBIGUOUS, BACKUP_NOT_FOUND, REPOSITORY_DAMAGED. */
export async function findRecovery(options: FindRecoveryOptions): Promise<Recovery> {
  const log = await StoredLog.open(options.repository, options.identities, options.database);
  return { log, target: await resolveTarget({ ...options, log }) };
}

/** False when the backup's own WAL is all that is needed. */
export function needsLog({ target }: Recovery): boolean {
  return target.end > parseLsn(backupFacts(target.manifest).walEnd);
}
