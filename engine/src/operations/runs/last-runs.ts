/** What became of the runs since the newest backup of each kind: whether backups fail is not told by backups alone. */
import {
  isDead,
  leaseLifetimeMs,
  listRuns,
  liveLeases,
  type Repository,
  type RunNotes,
  readRunNote,
} from '../../repository/index.ts';
import { beginSchema, failureSchema, type StoppedContainers, stoppedSchema } from './notes.ts';

export interface BadRun {
  /** When it began, by the store's clock. */
  readonly began: Date;
  /** `cut off`: it was killed, or its host is gone. `stopped`: by a signal, in order. */
  readonly end: 'failed' | 'cut off' | 'stopped';
  /** The error code and what it said. */
  readonly code?: string;
  readonly message?: string;
}

export interface LeftContainers extends StoppedContainers {
  readonly run: string;
  readonly began: Date;
}

/** A wrong command line, and what was not confirmed, says nothing about backups. */
const harmless: ReadonlySet<string> = new Set(['USAGE', 'CONFIRMATION_NEEDED']);

/**
 * Of each kind the newest run that is over, if there is no backup since it began. `newest`: when the newest backup of each
 * kind was committed, by the store's clock.
 */
export async function badRuns(
  repository: Repository,
  database: string,
  newest: ReadonlyMap<string, Date>,
): Promise<Map<string, BadRun>> {
  const found = new Map<string, BadRun>();
  const runs = (await listRuns(repository, database)).filter(
    ({ kind, notes }) => beganAt(notes) > (newest.get(kind)?.getTime() ?? 0),
  );
  runs.sort((a, b) => beganAt(b.notes) - beganAt(a.notes));
  for (const run of runs) {
    if (found.has(run.kind)) continue;
    const bad = await endOf(repository, database, run);
    if (bad) found.set(run.kind, bad);
  }
  return found;
}

/** Containers that a run has stopped and has not started again, and the run is over. */
export async function leftContainers(repository: Repository, database: string): Promise<LeftContainers[]> {
  const left: LeftContainers[] = [];
  for (const run of await listRuns(repository, database)) {
    if (!run.notes.has('stopped') || run.notes.has('started')) continue;
    const over = run.notes.has('failed') || !(await isRunning(repository, database, run));
    const note = await readRunNote(repository, { database, run: run.run, what: 'stopped' });
    const stopped = stoppedSchema.safeParse(note);
    if (over && stopped.success)
      left.push({ ...stopped.data, run: run.run, began: new Date(beganAt(run.notes)) });
  }
  return left;
}

function beganAt(notes: RunNotes['notes']): number {
  return notes.get('begun')?.getTime() ?? 0;
}

/** Undefined: it goes on, or says nothing. */
async function endOf(repository: Repository, database: string, run: RunNotes): Promise<BadRun | undefined> {
  const began = new Date(beganAt(run.notes));
  if (!run.notes.has('failed'))
    return (await isRunning(repository, database, run)) ? undefined : { began, end: 'cut off' };
  const note = await readRunNote(repository, { database, run: run.run, what: 'failed' });
  const { data } = failureSchema.safeParse(note);
  if (data && harmless.has(data.code)) return undefined;
  return { began, end: data?.code === 'INTERRUPTED' ? 'stopped' : 'failed', ...data };
}

/** A process that is gone is known at once where it ran; elsewhere its lease dies by age. */
async function isRunning(
  repository: Repository,
  database: string,
  { run, notes }: RunNotes,
): Promise<boolean> {
  const note = await readRunNote(repository, { database, run, what: 'begun' });
  const begin = beginSchema.safeParse(note);
  if (begin.success && isDead(begin.data.holder)) return false;
  const now = await repository.driver.now();
  if (now.getTime() - beganAt(notes) < leaseLifetimeMs) return true;
  return (await liveLeases(repository.driver)).some(({ kind }) => kind === 'backup');
}
