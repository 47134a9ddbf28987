/**
 * Every backup run is noted in the repository before it does anything, and again when it fails. What becomes of a run can so
 * be told by anyone, also of one that was killed, or whose host is gone: it began, and there is no backup of it.
 */
import type { Clock } from '../../base/clock.ts';
import { asHelvinoError } from '../../base/errors.ts';
import { backupId } from '../../base/ids.ts';
import type { Progress } from '../../base/progress.ts';
import { putRunNote, type Repository, thisProcess } from '../../repository/index.ts';
import { beginSchema, type StoppedContainers } from './notes.ts';

export interface RunOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly kind: 'physical' | 'logical' | 'volume';
  readonly program: string;
  readonly clock: Clock;
  readonly progress: Progress;
}

/** What a run says while it goes on. */
export interface Run {
  /** Durable when it resolves: then they may be stopped. */
  stopping(containers: StoppedContainers): Promise<void>;
  /** All that were stopped run again. */
  started(): Promise<void>;
}

/** Calls `work`; what it throws is noted and thrown on. A wrong command line is no failed run. */
export async function recordRun<T>(options: RunOptions, work: (run: Run) => Promise<T>): Promise<T> {
  const { repository, database, kind, clock, program } = options;
  const place = { database, run: `${backupId(clock.now())}-${kind}` };
  const begin = beginSchema.parse({ at: clock.now().toISOString(), holder: thisProcess(), program });
  await putRunNote(repository, { ...place, what: 'begun' }, begin);
  try {
    return await work({
      stopping: (containers) => putRunNote(repository, { ...place, what: 'stopped' }, containers),
      started: () => putRunNote(repository, { ...place, what: 'started' }, {}),
    });
  } catch (thrown) {
    await noteFailure(options, place, thrown);
    throw thrown;
  }
}

async function noteFailure(
  { repository, clock, progress }: RunOptions,
  place: { readonly database: string; readonly run: string },
  thrown: unknown,
): Promise<void> {
  const { code, message } = asHelvinoError(thrown);
  const note = { at: clock.now().toISOString(), code, message };
  try {
    await putRunNote(repository, { ...place, what: 'failed' }, note);
  } catch (cause) {
    // What made the run fail matters more. Without this note it counts as cut off.
    progress.note(
      'warn',
      `that this run failed could not be noted in the repository: ${asHelvinoError(cause).message}`,
    );
  }
}
