import { HelvinoError } from '../../base/errors.ts';
import { formatBytes, plural } from '../../base/format.ts';
import { continuousRanges } from '../../catalog/index.ts';
import { parseDuration } from '../../config/index.ts';
import {
  type AppliedRetention,
  applyRetention,
  planRetentionOf,
  type RetentionPlan,
} from '../../operations/retention/index.ts';
import { formatLsn } from '../../postgres/index.ts';
import { copyOption, databaseOption, openAsHost, otherCopies } from '../open.ts';
import { retentionText } from '../output/retention-text.ts';
import { placeWords } from '../place-words.ts';
import { textOption, type Verb } from '../verb.ts';

const preview: Verb = {
  name: 'retention preview',
  summary: 'show which backups would be kept and removed, and why, and the months ahead',
  details: [
    'The rules are those of `retention` in helvino.yaml; without it one backup a day for 30 days, a week for 12 weeks, a month for',
    '12 months, a year for 7 years, that of the last deployment (label pre-deploy), and all of the last 7 days. Never removed: the last',
    'that a drill has proven, the newest three, what the recovery window begins with, what is held; and nothing at all while backups fail.',
  ],
  options: [databaseOption, copyOption],
  examples: ['helvino retention preview', 'helvino retention preview --json'],
  async run(context, options) {
    const host = await openAsHost(context, options);
    context.progress.phase('reading the backups');
    const plan = await planRetentionOf(
      host.repositoryHandle,
      host.name,
      host.database,
      otherCopies(context, host),
    );
    const place = placeWords(context, options, ['database', 'copy']);
    return { data: planData(plan), text: [...retentionText(plan), '', lastLine(plan, place)] };
  },
};

const apply: Verb = {
  name: 'retention apply',
  summary: 'remove what a plan says that was shown',
  details: [
    'With --plan the id that `helvino retention preview` printed. Without it the plan is shown and its id asked for. When anything that',
    'the plan stands on has changed since, nothing is done. The space comes back when the grace time of `helvino collect` is over.',
  ],
  options: [
    databaseOption,
    copyOption,
    { flags: '--plan <id>', description: 'the plan that was shown' },
    { flags: '--dry-run', description: 'only show the plan' },
    { flags: '--grace <duration>', description: 'how old garbage must be, as with collect', default: '24h' },
  ],
  examples: ['helvino retention apply', 'helvino retention apply --plan 3fa9c1d2e0b4'],
  async run(context, options) {
    const host = await openAsHost(context, options);
    const graceMs = parseDuration(textOption(options, 'grace') ?? '24h') * 1000;
    const given = textOption(options, 'plan');
    const common = {
      repository: host.repositoryHandle,
      database: host.name,
      settings: host.database,
      others: otherCopies(context, host),
    };
    const place = placeWords(context, options, ['database', 'copy']);
    let planId = given;
    if (planId === undefined || options.dryRun) {
      context.progress.phase('reading the backups');
      const plan = await planRetentionOf(common.repository, common.database, common.settings, common.others);
      if (options.dryRun) {
        assertSame(plan, given);
        return {
          data: { applied: false, plan: planData(plan) },
          text: [...retentionText(plan), '', lastLine(plan, place)],
        };
      }
      // With --json nobody can be asked: the error is all that there is to say.
      if (!context.options.json) context.tell({}, retentionText(plan));
      if (!removesAnything(plan))
        return { data: { applied: false, plan: planData(plan) }, text: [lastLine(plan, place)] };
      await context.confirm(`Remove what plan ${plan.id} says`, plan.id, undefined);
      planId = plan.id;
    }
    const done = await applyRetention({
      ...common,
      planId,
      graceMs,
      progress: context.progress,
      signal: context.signal,
    });
    const { plan, ...rest } = done;
    return { data: { applied: true, ...rest, plan: planData(plan) }, text: doneText(done) };
  },
};

function assertSame(plan: RetentionPlan, given: string | undefined): void {
  if (given === undefined || given === plan.id) return;
  throw new HelvinoError('PLAN_CHANGED', `the plan is ${plan.id} now, not ${given}`, {
    hint: 'look again: helvino retention preview',
    context: { shown: given, now: plan.id },
  });
}

function removesAnything(plan: RetentionPlan): boolean {
  return (
    plan.log.remove.length > 0 ||
    plan.kinds.some(({ decisions }) => decisions.some(({ action }) => action === 'remove'))
  );
}

function lastLine(plan: RetentionPlan, place: readonly string[]): string {
  const apply = ['helvino retention apply', `--plan ${plan.id}`, ...place].join(' ');
  return removesAnything(plan)
    ? `plan ${plan.id}: nothing was done; \`${apply}\` does it`
    : `plan ${plan.id}: there is nothing to remove`;
}

function doneText({ removed, skipped, logRemoved, packs }: AppliedRetention): string[] {
  return [
    `removed: ${plural(removed.length, 'backup')}, ${plural(logRemoved, 'piece')} of WAL, ${plural(packs.removed, 'pack')} (${formatBytes(packs.bytes)}); ${plural(packs.waiting, 'pack')} wait for the grace time`,
    ...skipped.map(({ id, why }) => `left for the next time: ${id}: ${why}`),
  ];
}

/** Of WAL the ranges: of pieces there may be a million. */
function planData({ log: { keep: _, ...log }, kinds, ...plan }: RetentionPlan): Record<string, unknown> {
  return {
    ...plan,
    kinds: kinds.map(({ policy: { keep, ...policy }, ...kind }) => ({
      ...kind,
      policy: { ...policy, ...keep },
    })),
    log: {
      ...log,
      remove: {
        pieces: log.remove.length,
        ranges: continuousRanges(log.remove).map(({ line, begin, end }) => ({
          timeline: line,
          from: formatLsn(begin),
          to: formatLsn(end),
        })),
      },
    },
  };
}

export const retentionVerbs: readonly Verb[] = [preview, apply];
