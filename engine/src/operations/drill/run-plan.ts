/**
 * A drill by its plan, as the guide's checklist has it: prepare (which backup, which moment), restore, verify, clean up, and
 * document: the report is kept whatever came out.
 */
import { HelvinoError } from '../../base/errors.ts';
import { methodOf } from '../../catalog/index.ts';
import type { DatabaseConfig, DrillPlan } from '../../config/index.ts';
import type { Manifest } from '../../repository/index.ts';
import { type Meter, withMeter } from '../../storage/index.ts';
import { type ChosenTarget, chooseTarget, newestPhysical } from './choose-target.ts';
import { type DrillOptions, document, drill, physicalChecks } from './drill.ts';
import { exerciseChecks } from './examination.ts';
import { exerciseOf } from './exercise.ts';
import { type DrillAbout, DrillRecorder } from './recorder.ts';
import { foretell, type KnownDrill, knownDrills } from './report/index.ts';
import type { DrillReport } from './report.ts';

export interface PlanOptions
  extends Omit<DrillOptions, 'manifest' | 'recovery' | 'exercise' | 'wanted' | 'meter' | 'begun' | 'about'> {
  readonly name: string;
  readonly plan: DrillPlan;
  readonly database: string;
  readonly databaseConfig: DatabaseConfig;
  /** Name of the copy that `repository` is. */
  readonly copy: string;
  /** Of the configuration. */
  readonly directory: string;
  readonly operator?: string | undefined;
  readonly approver?: string | undefined;
  readonly remediation?: string | undefined;
}

/** Throws for what says nothing about the backup: no key, no disk, a configuration that is wrong. */
export async function runPlan(given: PlanOptions): Promise<DrillReport> {
  const { clock, plan, progress } = given;
  const begun = { at: clock.now(), monotonic: clock.monotonic() };
  const meter: Meter = { bytes: 0, requests: 0 };
  const options = { ...given, repository: given.repository.on(withMeter(given.repository.driver, meter)) };
  progress.phase('drill: preparing');
  const exercise = await exerciseOf({
    name: given.name,
    plan,
    database: given.databaseConfig,
    env: given.env,
    directory: given.directory,
  });
  const { drills, damaged } = await knownDrills(given.repository, given.database);
  for (const what of damaged) progress.note('warn', `an earlier report cannot be read: ${what}`);
  const about: DrillAbout = {
    copy: given.copy,
    operator: given.operator ?? plan.operator,
    approver: given.approver ?? plan.approver,
    remediation: given.remediation,
    retestOf: failedBefore(drills, given.name),
  };
  const shared = { ...options, exercise, meter, begun };
  const chosen = await choose(options, begun.at);
  if (chosen instanceof HelvinoError) return unreachable({ ...shared, about }, chosen);
  return drill({ ...shared, ...chosen, about: { ...about, target: chosen.target } });
}

async function choose(options: PlanOptions, now: Date): Promise<ChosenTarget | HelvinoError> {
  const { plan } = options;
  if (plan.kind !== 'physical') {
    if (!['latest', 'newest', 'backup'].includes(plan.target))
      throw new HelvinoError('USAGE', `a ${plan.kind} backup cannot be recovered to "${plan.target}"`, {
        hint: 'it is what it was when it was taken: leave out the target, or drill a physical backup',
      });
    const manifest = await newestOf(options);
    const target = { asked: plan.target, kind: 'backup', time: manifest.started };
    return { manifest, recovery: undefined, target, wanted: undefined };
  }
  try {
    return await chooseTarget(targetInput(options, now));
  } catch (thrown) {
    const lost = ['TARGET_UNREACHABLE', 'TARGET_AMBIGUOUS', 'REPOSITORY_DAMAGED', 'STORAGE_NOT_FOUND'];
    if (thrown instanceof HelvinoError && lost.includes(thrown.code)) return thrown;
    throw thrown;
  }
}

function targetInput(options: PlanOptions, now: Date) {
  return { ...options, asked: options.plan.target, windowSeconds: options.plan.window, now };
}

/** That what was promised cannot be recovered is what a drill is for: it is kept, with the newest backup. */
async function unreachable(
  options: PlanOptions & Pick<DrillOptions, 'exercise' | 'begun'> & { meter: Meter; about: DrillAbout },
  error: HelvinoError,
): Promise<DrillReport> {
  const { plan } = options;
  const manifest = await newestPhysical(targetInput(options, options.clock.now()));
  const about = { ...options.about, target: { asked: plan.target, kind: plan.target } };
  const recorder = new DrillRecorder({ ...options, manifest, about }, [
    ...physicalChecks,
    ...exerciseChecks(options.exercise),
  ]);
  await recorder.check('target', async () => ({ state: 'failed', detail: error.message }));
  const foretold = await foretell({ ...options, ...options.evidence, manifest });
  const report = { ...recorder.report(), ...foretold };
  await document({ ...options, manifest }, report);
  return report;
}

async function newestOf({ repository, database, plan }: PlanOptions): Promise<Manifest> {
  for (const { id } of (await repository.backups(database)).reverse()) {
    const manifest = await repository.manifest(database, id);
    if (methodOf(manifest) === plan.kind) return manifest;
  }
  throw new HelvinoError('BACKUP_NOT_FOUND', `there is no ${plan.kind} backup of ${database}`, {
    hint: `take one with \`helvino backup --kind ${plan.kind}\``,
  });
}

/** The newest drill of this plan, if it failed: then this one repeats it. */
function failedBefore(drills: readonly KnownDrill[], plan: string): string | undefined {
  const last = drills.map(({ signed }) => signed.document.report).findLast((report) => report.plan === plan);
  return last?.verdict === 'failed' ? last.id : undefined;
}
