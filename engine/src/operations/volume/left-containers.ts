/**
 * Containers that a run has stopped and could not start again, because it was killed: the next run starts them, and doctor
 * and health say so until then. Someone who has started one since, or removed it, has taken that out of our hands.
 */
import { asHelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import { putRunNote, type Repository } from '../../repository/index.ts';
import { type LeftContainers, leftContainers } from '../runs/last-runs.ts';
import type { Finding } from '../setup/check-server.ts';
import { asked, type Engine, openEngine } from './engine.ts';

interface Left {
  readonly id: string;
  readonly name: string;
}

/** Throws ENGINE when one does not start. */
export async function startLeft(
  repository: Repository,
  database: string,
  { engine, progress }: { engine: Engine; progress: Progress },
): Promise<void> {
  for (const run of await leftContainers(repository, database)) {
    for (const { id, name } of await stillStopped(engine, run)) {
      progress.note(
        'warn',
        `${name} was stopped by the run of ${run.began.toISOString()}, which was cut off, and has been down since: it is started now`,
      );
      await asked(engine.place, engine.docker.getContainer(id).start());
    }
    await putRunNote(repository, { database, run: run.run, what: 'started' }, {});
  }
}

/** Empty when no container was left. `engine`: as in DOCKER_HOST, of the configuration. */
export async function checkContainers(
  repository: Repository,
  database: string,
  { engine, env }: { engine: string | undefined; env: Readonly<Record<string, string | undefined>> },
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const run of await leftContainers(repository, database)) {
    const words = `the backup run of ${run.began.toISOString()}, which was cut off,`;
    try {
      const down = await stillStopped(await openEngine(engine ?? run.engine, env), run);
      if (down.length === 0) continue;
      const names = down.map(({ name }) => name);
      findings.push({
        name: 'containers',
        state: 'missing',
        detail: `${words} stopped ${names.join(', ')}, not running since`,
        hint: `docker start ${names.join(' ')}; the next \`helvino backup --kind volume\` does it, too`,
      });
    } catch (thrown) {
      const names = run.containers.map(({ name }) => name).join(', ');
      findings.push({
        name: 'containers',
        state: 'missing',
        detail: `${words} stopped ${names}; whether they run again cannot be seen from here: ${asHelvinoError(thrown).message}`,
        hint: `look there: docker ps; docker start ${names}`,
      });
    }
  }
  return findings;
}

async function stillStopped({ docker, place }: Engine, run: LeftContainers): Promise<Left[]> {
  const found: Left[] = [];
  for (const { id, name, startedAt } of run.containers) {
    const state = await stateOf(docker, place, id);
    if (state && !state.Running && state.StartedAt === startedAt) found.push({ id, name });
  }
  return found;
}

/** Undefined when it was removed. */
async function stateOf(
  docker: Engine['docker'],
  place: string,
  id: string,
): Promise<{ Running: boolean; StartedAt: string } | undefined> {
  try {
    return (await docker.getContainer(id).inspect()).State;
  } catch (thrown) {
    if ((thrown as { statusCode?: number }).statusCode === 404) return undefined;
    return asked(place, Promise.reject(thrown));
  }
}
