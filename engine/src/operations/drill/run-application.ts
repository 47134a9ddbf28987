/** The commands of a plan against the restored database: are all migrations applied, and does the application work on it? */
import { formatDuration } from '../../base/format.ts';
import { type ConnectionParams, freePort } from '../../postgres/index.ts';
import type { DrillOptions } from './drill.ts';
import type { Application, CommandPlace, Migrations } from './exercise.ts';
import { askHttp, networkReason } from './http-check.ts';
import type { DrillRecorder } from './recorder.ts';
import { type Check, findings } from './report.ts';
import { Command } from './run-command.ts';

type Outcome = Omit<Check, 'name' | 'seconds'>;

export interface ApplicationInput {
  readonly options: DrillOptions;
  readonly recorder: DrillRecorder;
  readonly connection: ConnectionParams;
  /** A URL that reaches the restored server over the network of this machine. */
  readonly urlOf: (place: CommandPlace) => Promise<string>;
}

/** Checks `migrations`, `application`, and one for each request. */
export async function runApplication(input: ApplicationInput): Promise<void> {
  const { options, recorder } = input;
  const { migrations, application } = options.exercise ?? {};
  if (!migrations && !application) return;
  recorder.enter('application');
  if (migrations) await recorder.check('migrations', () => checkMigrations(input, migrations));
  if (application) await withApplication(input, application);
}

async function commandOf(
  { options, urlOf }: ApplicationInput,
  place: CommandPlace,
  command: string,
  more: Readonly<Record<string, string>> = {},
): Promise<Command> {
  const env = { ...more, ...place.env, DATABASE_URL: await urlOf(place) };
  const { directory, secrets } = place;
  return new Command({ command, directory, env, secrets, outer: options.env, clock: options.clock });
}

async function checkMigrations(input: ApplicationInput, migrations: Migrations): Promise<Outcome> {
  const { deploy, check } = migrations;
  const queries: { sql: string; result: string }[] = [];
  for (const [what, text] of [
    ['deploy', deploy],
    ['check', check],
  ] as const) {
    if (text === undefined) continue;
    const { state, detail, lines } = await runToEnd(input, migrations, text);
    queries.push({ sql: text, result: detail });
    if (state === 'failed') {
      const meaning = what === 'deploy' ? 'migrations could not be applied' : 'migrations are missing';
      return { state, detail: `${meaning}: \`${text}\` ${detail}`, findings: findings(lines), queries };
    }
  }
  return { state: 'passed', detail: `\`${check}\` ended with status 0`, queries };
}

async function runToEnd(
  input: ApplicationInput,
  migrations: Migrations,
  text: string,
): Promise<{ state: 'passed' | 'failed'; detail: string; lines: string[] }> {
  const command = await commandOf(input, migrations, text);
  try {
    const ended = await command.endsWithin(migrations.timeoutMs, input.options.signal);
    const detail = ended
      ? command.outcome!
      : `was still running after ${formatDuration(migrations.timeoutMs / 1000)}`;
    return { state: command.good ? 'passed' : 'failed', detail, lines: command.lines };
  } finally {
    await command.stop();
  }
}

async function withApplication(input: ApplicationInput, application: Application): Promise<void> {
  const { recorder, options } = input;
  const names = application.http.map(({ path }) => `GET ${path}`);
  let command: Command | undefined;
  let base = '';
  try {
    const started = await recorder.check('application', async () => {
      const port = application.port ?? (await freePort());
      base = application.url ?? `http://127.0.0.1:${port}`;
      const before = await answers(base, application.readyPath, options.signal);
      if (before === undefined || before.startsWith('status'))
        return { state: 'failed', detail: `something answers at ${base} before the application is started` };
      command = await commandOf(input, application, application.command, { PORT: String(port) });
      return awaitReady(input, { application, command, base });
    });
    if (!started) {
      const state = 'unproven' as const;
      for (const name of names)
        await recorder.check(name, async () => ({ state, detail: 'the application did not start' }));
      return;
    }
    for (const [i, request] of application.http.entries())
      await recorder.check(names[i]!, () => askHttp(base, request, options.signal));
  } finally {
    await command?.stop();
  }
}

interface ReadyInput {
  readonly options: Pick<DrillOptions, 'clock' | 'signal'>;
  readonly recorder: Pick<DrillRecorder, 'answered'>;
}

const betweenMs = 200;
/** A request that is lost is asked again; each time more slowly, since the first answer may take long. */
const firstPatienceMs = 10_000;

/** Until it answers with a status of 200 to 299, however long one answer takes. */
export async function awaitReady(
  { options, recorder }: ReadyInput,
  { application, command, base }: { application: Application; command: Command; base: string },
): Promise<Outcome> {
  const { clock, signal } = options;
  const begun = clock.monotonic();
  let patience = firstPatienceMs;
  /** What the tries before the last one got. */
  let before: string | undefined;
  for (;;) {
    const asked = clock.monotonic();
    const left = Math.max(1, application.readyTimeoutMs - (asked - begun));
    const last = await answers(base, application.readyPath, signal, Math.min(patience, left));
    if (clock.monotonic() - asked >= patience) patience *= 2;
    const lines = () => ({ findings: findings(command.lines) });
    if (command.outcome !== undefined)
      return { state: 'failed', detail: `\`${application.command}\` ${command.outcome}`, ...lines() };
    const seconds = (clock.monotonic() - begun) / 1000;
    if (last === undefined) {
      recorder.answered();
      return {
        state: 'passed',
        detail: `${application.readyPath} answered after ${formatDuration(seconds)}`,
      };
    }
    if (seconds * 1000 >= application.readyTimeoutMs)
      return {
        state: 'failed',
        detail: `${application.readyPath} did not answer within ${formatDuration(application.readyTimeoutMs / 1000)}: ${[...new Set([last, before ?? last])].join('; before that ')}`,
        ...lines(),
      };
    if (!last.startsWith(noAnswer)) before = last;
    await clock.sleep(Math.max(1, Math.min(betweenMs, application.readyTimeoutMs - seconds * 1000)), signal);
  }
}

const noAnswer = 'no answer within';

/** Undefined when it answers with a status of 200 to 299; else why not. */
async function answers(
  base: string,
  path: string,
  signal: AbortSignal,
  patienceMs = firstPatienceMs,
): Promise<string | undefined> {
  try {
    const answer = await fetch(new URL(path, base), {
      redirect: 'manual',
      signal: AbortSignal.any([signal, AbortSignal.timeout(Math.ceil(patienceMs))]),
    });
    await answer.body?.cancel();
    return answer.ok ? undefined : `status ${answer.status}`;
  } catch (thrown) {
    signal.throwIfAborted();
    return (thrown as Error).name === 'TimeoutError'
      ? `${noAnswer} ${formatDuration(patienceMs / 1000)}`
      : networkReason(thrown);
  }
}
