/** Backup runs that failed, in order of time. */
import { listRuns, type Repository, readRunNote } from '../../repository/index.ts';
import { failureSchema } from './notes.ts';

export interface FailedRun {
  /** `<runId>-<kind>` */
  readonly run: string;
  readonly kind: string;
  /** By the host's clock; ISO 8601, UTC. */
  readonly at?: string;
  /** The error code and what it said; undefined when the note is damaged. */
  readonly code?: string;
  readonly message?: string;
}

/** `wanted` of the run's id, which begins with its time. */
export async function failedRuns(
  repository: Repository,
  database: string,
  wanted: (run: string) => boolean,
): Promise<FailedRun[]> {
  const found: FailedRun[] = [];
  for (const { run, kind, notes } of await listRuns(repository, database)) {
    if (!wanted(run) || !notes.has('failed')) continue;
    const note = await readRunNote(repository, { database, run, what: 'failed' });
    found.push({ run, kind, ...failureSchema.safeParse(note).data });
  }
  return found;
}
