/**
 * A process that does one thing with a repository and dies on the way (see crash-fixture.ts). Argument: ChildWork as
 * JSON. Faults come from the environment. Prints `{ outcome, points }`.
 */
import { openIdentities, openRepository, parseCatalogRing } from '../src/repository/index.ts';
import { openFsDriver } from '../src/storage/index.ts';
import { faultHooks, faultPlanFromEnv, withFaults } from '../src/storage/testing/faulty-driver.ts';
import { Case, type ChildWork } from './crash-fixture.ts';

const work = JSON.parse(process.argv[2]!) as ChildWork;
const plan = faultPlanFromEnv(process.env) ?? {};
const hooks = faultHooks(plan);
let outcome = 'ok';
try {
  const driver = withFaults(await openFsDriver({ root: work.root, hooks }), plan);
  const ring = parseCatalogRing(work.ring, 'the test');
  const identities = await openIdentities(work.identity, 'the test');
  const repository = await openRepository(driver, { ring });
  const one = new Case({ root: work.root, keys: { ...work, identities }, repository, url: work.url });
  if (work.action === 'backup') await one.backup({ read: work.read ?? 'replication' });
  else if (work.action === 'collect') await one.collect();
  else if (work.action === 'retain') await one.retain();
  else {
    const manifest = await repository.manifest('main', work.backupId!);
    await one.restore(manifest, work.directory!, { delta: work.delta });
  }
} catch (thrown) {
  outcome = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
}
process.stdout.write(JSON.stringify({ outcome, points: hooks.seen }));
