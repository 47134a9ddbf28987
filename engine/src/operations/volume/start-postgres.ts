/** Is there a PostgreSQL in a volume? Starts one on it with an image that is there, without a network, and stops it again. */
import type Docker from 'dockerode';
import type { Clock } from '../../base/clock.ts';
import type { Progress } from '../../base/progress.ts';
import type { VolumeFacts } from '../../catalog/index.ts';
import type { Check } from '../drill/report.ts';
import { asked, type Engine } from './engine.ts';

interface StartOptions {
  readonly engine: Engine;
  readonly facts: VolumeFacts;
  readonly postgres: NonNullable<VolumeFacts['postgres']>;
  readonly volume: string;
  readonly image?: string;
  readonly readyTimeoutMs: number;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

type Outcome = Pick<Check, 'state' | 'detail'>;

/** Where an image of PostgreSQL has its data, when no container says so. */
const usualPlace = '/var/lib/postgresql/data';
/** Seconds for a clean shutdown. */
const patience = 60;

export async function startPostgresOn(options: StartOptions): Promise<Outcome> {
  const { engine, facts, postgres, volume, progress } = options;
  const image = await imageFor(options);
  if (image === undefined) {
    const wanted = options.image ?? facts.containers.map((container) => container.image).join(', ');
    return {
      state: 'unproven',
      detail: `no image to start it with is here${wanted ? ` (${wanted})` : ''}: name one of PostgreSQL ${postgres.major} with --image, or run \`helvino drill\``,
    };
  }
  progress.phase(`starting PostgreSQL ${postgres.major} on the volume`);
  const destination =
    facts.containers.find((container) => container.destination !== '')?.destination ?? usualPlace;
  const dataDir = postgres.path === '.' ? destination : `${destination}/${postgres.path}`;
  const container = await asked(
    engine.place,
    engine.docker.createContainer({
      Image: image,
      Env: [`PGDATA=${dataDir}`],
      Labels: { 'io.helvino.helper': volume },
      HostConfig: { Binds: [`${volume}:${destination}`], NetworkMode: 'none' },
    }),
  );
  try {
    await asked(engine.place, container.start());
    const outcome = await untilReady(container, options);
    if (outcome.state !== 'passed') return outcome;
    await asked(engine.place, container.stop({ t: patience }));
    return { state: 'passed', detail: `${outcome.detail}, from the image ${image}; it was stopped again` };
  } finally {
    await container.remove({ force: true, v: false }).catch(() => undefined);
  }
}

/** Only what is there: nothing is fetched. */
async function imageFor({ engine, facts, image }: StartOptions): Promise<string | undefined> {
  const wanted = image === undefined ? facts.containers.map((container) => container.image) : [image];
  for (const name of wanted) {
    const found = await engine.docker
      .getImage(name)
      .inspect()
      .catch(() => undefined);
    if (found) return name;
  }
  return undefined;
}

async function untilReady(container: Docker.Container, options: StartOptions): Promise<Outcome> {
  const { engine, clock, signal, readyTimeoutMs } = options;
  const until = clock.monotonic() + readyTimeoutMs;
  for (;;) {
    signal.throwIfAborted();
    const { State: state } = await asked(engine.place, container.inspect());
    const log = await logOf(container);
    const version = /starting PostgreSQL (\S+)/.exec(log)?.[1] ?? '';
    // The server says so in the language of lc_messages; pg_isready asks it.
    if (
      /database system is ready to accept connections/.test(log) ||
      (state.Running && (await answers(container)))
    )
      return {
        state: 'passed',
        detail: `PostgreSQL ${version} started and takes connections`.replace('  ', ' '),
      };
    if (!state.Running)
      return { state: 'failed', detail: `PostgreSQL ended with ${state.ExitCode}: ${telling(log)}` };
    if (clock.monotonic() > until)
      return { state: 'failed', detail: `PostgreSQL was not ready in time: ${telling(log)}` };
    await clock.sleep(200, signal);
  }
}

/** The last lines, without the eight bytes before each piece that say which stream it is of. */
async function logOf(container: Docker.Container): Promise<string> {
  const raw = await container.logs({ stdout: true, stderr: true, tail: 100, follow: false });
  const pieces: string[] = [];
  for (let at = 0; at + 8 <= raw.length; ) {
    const length = raw.readUInt32BE(at + 4);
    pieces.push(raw.toString('utf8', at + 8, at + 8 + length));
    at += 8 + length;
  }
  return pieces.join('');
}

function telling(log: string): string {
  const lines = log.split('\n').filter((line) => line !== '');
  return lines.findLast((line) => /FATAL|PANIC/.test(line)) ?? lines.at(-1) ?? 'it said nothing';
}

async function answers(container: Docker.Container): Promise<boolean> {
  try {
    const exec = await container.exec({ Cmd: ['pg_isready', '-q'], AttachStdout: true, AttachStderr: true });
    const output = await exec.start({});
    output.resume();
    await new Promise((resolve) => output.once('close', resolve));
    return (await exec.inspect()).ExitCode === 0;
  } catch {
    // no such program in the image, or the container has ended: the log and the state say more
    return false;
  }
}
