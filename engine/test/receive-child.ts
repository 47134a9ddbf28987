/**
 * A receiver in a process of its own, for tests that kill it. Argument: the work as JSON. Prints a line "listening", "refused …"
 * for each refusal, and "steps" with the storage steps that it went through once it has stopped. Faults come from the
 * environment (faultPlanToEnv).
 */
import { systemClock } from '../src/base/clock.ts';
import { asHelvinoError } from '../src/base/errors.ts';
import type { Progress } from '../src/base/progress.ts';
import { receiveWal } from '../src/operations/wal/index.ts';
import { resolveConnection } from '../src/postgres/index.ts';
import { openRepository, parseCatalogRing } from '../src/repository/index.ts';
import { openFsDriver } from '../src/storage/index.ts';
import { faultHooks, faultPlanFromEnv, withFaults } from '../src/storage/testing/faulty-driver.ts';

export interface ReceiveWork {
  readonly root: string;
  readonly ring: string;
  readonly recipient: string;
  readonly database: string;
  readonly url: string;
  readonly folder: string;
  readonly group: string | undefined;
}

const work = JSON.parse(process.argv[2]!) as ReceiveWork;
const plan = faultPlanFromEnv(process.env) ?? {};
const hooks = faultHooks(plan);
const say = (line: string) => process.stdout.write(`${line}\n`);
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
const progress: Progress = {
  phase: () => undefined,
  advance: () => undefined,
  total: () => undefined,
  note: (_, text) => say(text),
};
try {
  const driver = withFaults(await openFsDriver({ root: work.root, hooks }), plan);
  await receiveWal({
    repository: await openRepository(driver, { ring: parseCatalogRing(work.ring, 'the test') }),
    recipients: [work.recipient],
    database: work.database,
    connection: () => resolveConnection({ url: work.url }, {}),
    folder: work.folder,
    group: work.group,
    clock: systemClock,
    progress,
    signal: stop.signal,
    onListening: () => say('listening'),
  });
  say(`steps ${JSON.stringify(hooks.seen)}`);
} catch (thrown) {
  const error = asHelvinoError(thrown);
  say(`failed ${error.code} ${error.message}`);
  process.exitCode = error.exit;
}
