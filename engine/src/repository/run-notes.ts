/**
 * Notes of backup runs: `runs/<database>/<runId>-<kind>/<what>`, written once each, so that a run that failed or was cut off
 * is known to whoever looks at the repository. Nothing says here that a run was good: its backup does.
 */
import { HelvinoError } from '../base/errors.ts';
import { openEnvelope, sealEnvelope } from './envelope.ts';
import { runsPrefix } from './layout.ts';
import type { Repository } from './repository.ts';

const magic = 'HVRUN_1\n';

export type RunNoteKind = 'begun' | 'failed' | 'stopped' | 'started';

export interface RunNotes {
  /** `<runId>-<kind>` */
  readonly run: string;
  readonly kind: string;
  /** When the store had the note, by its clock. */
  readonly notes: ReadonlyMap<RunNoteKind, Date>;
}

/** Durable when it resolves. */
export async function putRunNote(
  repository: Repository,
  place: { readonly database: string; readonly run: string; readonly what: RunNoteKind },
  note: unknown,
): Promise<void> {
  const name = nameOf(place);
  const body = sealEnvelope(Buffer.from(JSON.stringify(note)), { ring: repository.ring, name, magic });
  await repository.driver.put(name, [body], { ifAbsent: true });
}

/** Undefined when it is not there, or is damaged. Throws KEY_WRONG, STORAGE_*. */
export async function readRunNote(
  repository: Repository,
  place: { readonly database: string; readonly run: string; readonly what: RunNoteKind },
): Promise<unknown> {
  const name = nameOf(place);
  try {
    const plain = openEnvelope(await repository.driver.get(name), { ring: repository.ring, name, magic });
    return JSON.parse(Buffer.from(plain).toString('utf8'));
  } catch (thrown) {
    if (thrown instanceof HelvinoError && ['STORAGE_NOT_FOUND', 'REPOSITORY_DAMAGED'].includes(thrown.code))
      return undefined;
    throw thrown;
  }
}

/** In order of their ids, which is that of the clocks of the hosts. */
export async function listRuns(repository: Repository, database: string): Promise<RunNotes[]> {
  const runs = new Map<string, Map<RunNoteKind, Date>>();
  for await (const { name, modified } of repository.driver.list(`${runsPrefix}${database}/`)) {
    const [, , run = '', what = ''] = name.split('/');
    const notes = runs.get(run) ?? new Map<RunNoteKind, Date>();
    runs.set(run, notes.set(what as RunNoteKind, modified));
  }
  return [...runs].map(([run, notes]) => ({ run, kind: run.slice(run.lastIndexOf('-') + 1), notes }));
}

/** All but the newest `keep`, and those that left a container stopped. What a credential may not remove stays. */
export async function removeOldRuns(
  repository: Repository,
  { database, keep }: { database: string; keep: number },
): Promise<void> {
  const runs = await listRuns(repository, database);
  for (const { run, notes } of runs.slice(0, Math.max(0, runs.length - keep))) {
    if (notes.has('stopped') && !notes.has('started')) continue;
    for (const what of notes.keys()) {
      try {
        await repository.driver.remove(nameOf({ database, run, what }));
      } catch (thrown) {
        if (thrown instanceof HelvinoError && thrown.code === 'STORAGE_DENIED') return;
        throw thrown;
      }
    }
  }
}

function nameOf({ database, run, what }: { database: string; run: string; what: RunNoteKind }): string {
  return `${runsPrefix}${database}/${run}/${what}`;
}
