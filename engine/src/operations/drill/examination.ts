/** The checks of a restored server that are the same for every kind of backup, in their order. */
import type { BackupFacts } from '../../catalog/index.ts';
import { type ConnectionParams, giveUrl, type LocalServer } from '../../postgres/index.ts';
import { constraintsOf, sequencesOf } from './check-databases.ts';
import { checkAssertion, checkHeartbeat } from './check-promises.ts';
import { checkSchema } from './check-schema.ts';
import type { DrillOptions } from './drill.ts';
import type { CommandPlace, Exercise } from './exercise.ts';
import type { Loss } from './objectives.ts';
import { amcheckServer, type DrillRecorder } from './recorder.ts';
import { runApplication } from './run-application.ts';

export interface ExaminationInput {
  readonly options: DrillOptions;
  readonly recorder: DrillRecorder;
  readonly server: LocalServer;
  readonly connection: ConnectionParams;
  readonly superuser: string;
  /** Where it listens on 127.0.0.1; undefined: nowhere. */
  readonly port: number | undefined;
  /** Why it may differ from what the backup recorded; undefined when it must not. */
  readonly later: string | undefined;
  readonly dumped: boolean;
  /** The moment that should have been recovered. */
  readonly wanted: Date;
  /** Nothing later than `wanted` may be there. */
  readonly until: boolean;
  /** What is known of the loss without a heartbeat. */
  readonly loss: Loss | undefined;
}

/** Names of the checks that `examine` and `exercise` make, for this plan. */
export const dataChecks = ['constraints', 'sequences', 'extensions', 'schema', 'amcheck'] as const;

export function exerciseChecks(exercise: Exercise | undefined): string[] {
  if (!exercise) return [];
  const { assertions, heartbeat, migrations, application } = exercise;
  return [
    ...assertions.map(assertionName),
    ...(heartbeat ? ['heartbeat'] : []),
    ...(migrations ? ['migrations'] : []),
    ...(application ? ['application', ...application.http.map(({ path }) => `GET ${path}`)] : []),
  ];
}

function assertionName({ name }: { name: string }): string {
  return `assertion: ${name}`;
}

/** What every cluster must be. */
export async function examine(input: ExaminationInput): Promise<void> {
  const { recorder, connection, options, later, dumped } = input;
  const { signal, repository, manifest } = options;
  await recorder.check('constraints', () => constraintsOf(connection, signal));
  await recorder.check('sequences', () => sequencesOf(connection, signal));
  // Before amcheck, which makes an extension.
  await recorder.checks(['extensions', 'schema'], () =>
    checkSchema({ repository, manifest, connection, later, dumped }),
  );
  await recorder.check('amcheck', () => amcheckServer(connection, options));
}

/** What the plan asks for. The application comes last: it may write. */
export async function exercise(input: ExaminationInput): Promise<void> {
  const { recorder, connection, options, wanted, until } = input;
  recorder.loss = input.loss;
  const { assertions = [], heartbeat } = options.exercise ?? {};
  for (const assertion of assertions)
    await recorder.check(assertionName(assertion), () => checkAssertion(connection, assertion));
  if (heartbeat)
    await recorder.check('heartbeat', async () => {
      const { loss, ...outcome } = await checkHeartbeat(connection, {
        heartbeat,
        wanted,
        until,
        now: options.clock.now(),
      });
      recorder.loss = loss;
      return outcome;
    });
  await runApplication({ options, recorder, connection, urlOf: urlsOf(input) });
}

/** One password for each role. */
function urlsOf({ server, superuser, port }: ExaminationInput): (place: CommandPlace) => Promise<string> {
  const urls = new Map<string, string>();
  return async ({ role = superuser, database }) => {
    const known = urls.get(role) ?? (await giveUrl(server, { role, port: port ?? 0 }));
    urls.set(role, known);
    return `${known}/${encodeURIComponent(database)}`;
  };
}

/** Settings of a server that commands of the plan are to reach. */
export function listening(port: number | undefined): Record<string, string> {
  return port === undefined ? {} : { listen_addresses: '127.0.0.1', port: String(port) };
}

export function needsNetwork({ exercise: plan }: Pick<DrillOptions, 'exercise'>): boolean {
  return plan?.migrations !== undefined || plan?.application !== undefined;
}

/** What a backup's own end says: all that was committed before it is there. */
export function lossOfBackup(facts: Pick<BackupFacts, 'ended'>, wanted: Date): Loss | undefined {
  if (facts.ended === undefined) return undefined;
  const seconds = (wanted.getTime() - Date.parse(facts.ended)) / 1000;
  return { seconds, by: 'the end of the backup', exact: true };
}
