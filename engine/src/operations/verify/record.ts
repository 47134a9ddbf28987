/** Keeps what a verification of all backups of a database said: `helvino health` watches its age. */
import type { Clock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import { backupId } from '../../base/ids.ts';
import type { Progress } from '../../base/progress.ts';
import { lastVerification, putVerification, type Repository } from '../../repository/index.ts';
import type { VerifyReport } from './verify.ts';

export interface VerificationRecord {
  readonly verdict: VerifyReport['verdict'];
  readonly depth: VerifyReport['depth'];
  /** ISO 8601, UTC. */
  readonly finished: string;
  readonly backups: number;
  /** What was damaged: every backup, which the next one must know of, then the first twenty objects. */
  readonly damaged: readonly string[];
  /** Of the backups that it has seen, the newest, oldest first: what came while it was at work is not among them. */
  readonly newest?: readonly string[];
  readonly program: string;
}

/** More than come while one is at work. */
export const newestKept = 100;

export async function recordVerification(
  repository: Repository,
  report: VerifyReport,
  {
    databases,
    clock,
    program,
    progress,
  }: { databases: readonly string[]; clock: Clock; program: string; progress: Progress },
): Promise<void> {
  const now = clock.now();
  for (const database of databases) {
    const own = report.backups.filter((backup) => backup.database === database);
    const damaged = [
      ...own.filter(({ state }) => state === 'damaged').map(({ id }) => id),
      ...report.others.slice(0, 20).map(({ object }) => object),
    ];
    const result: VerificationRecord = {
      verdict: damaged.length === 0 ? 'passed' : 'failed',
      depth: report.depth,
      finished: now.toISOString(),
      backups: own.length,
      damaged,
      newest: own
        .map(({ id }) => id)
        .sort()
        .slice(-newestKept),
      program,
    };
    try {
      await putVerification(repository, { database, id: backupId(now), result });
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError) || !thrown.code.startsWith('STORAGE_')) throw thrown;
      progress.note('warn', `the result could not be kept in the repository: ${thrown.message}`);
    }
  }
}

export async function newestVerification(
  repository: Repository,
  database: string,
): Promise<VerificationRecord | undefined> {
  return (await lastVerification(repository, database)) as VerificationRecord | undefined;
}
