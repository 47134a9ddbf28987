import { formatBytes, plural } from '../../base/format.ts';
import { parseDuration } from '../../config/index.ts';
import { applyCollect, type CollectPlan, planCollect } from '../../repository/index.ts';
import { copyOption, databaseOption, openAsHost } from '../open.ts';
import { placeWords } from '../place-words.ts';
import { textOption, type Verb } from '../verb.ts';

const shownPacks = 20;

export const collectVerb: Verb = {
  name: 'collect',
  summary: 'remove what no backup needs: first a plan, then --apply',
  details: [
    'Garbage is left by runs that were stopped and by backups that were removed. It is first marked, and removed by a later run when',
    'the grace time has passed, so that a backup that runs meanwhile is safe.',
  ],
  options: [
    databaseOption,
    copyOption,
    { flags: '--apply', description: 'do it; without it only the plan is shown' },
    { flags: '--dry-run', description: 'only the plan (the default)' },
    { flags: '--grace <duration>', description: 'how old garbage must be', default: '24h' },
  ],
  examples: ['helvino collect', 'helvino collect --apply'],
  async run(context, options) {
    const { repositoryHandle } = await openAsHost(context, options);
    const graceMs = parseDuration(textOption(options, 'grace') ?? '24h') * 1000;
    context.progress.phase('looking for garbage');
    const plan = await planCollect(repositoryHandle, { graceMs });
    const place = placeWords(context, options, ['database', 'copy']);
    if (!options.apply || options.dryRun)
      return { data: { applied: false, plan }, text: planText(plan, place) };
    const done = await applyCollect(repositoryHandle, plan, { graceMs });
    return {
      data: { applied: true, plan, marked: done.marked, removed: done.removed, parts: done.parts },
      text: [
        `${done.removed.length} packs removed (${formatBytes(done.removed.bytes)}), ${done.marked} marked; ${plan.wait.length} wait`,
        ...(done.parts.length > 0
          ? [`${plural(done.parts.length, 'part')} of WAL removed that longer pieces hold`]
          : []),
      ],
    };
  },
};

function planText(plan: CollectPlan, place: readonly string[]): string[] {
  const lines = [
    `kept    ${plan.kept.packs} packs, ${formatBytes(plan.kept.bytes)}: named by backups`,
    `remove  ${plan.remove.length} packs, ${formatBytes(plan.remove.bytes)}: marked before, and the grace time is over`,
    `mark    ${plan.mark.length} packs, ${formatBytes(plan.mark.bytes)}: garbage, to be removed by a later run`,
  ];
  const partBytes = plan.parts.reduce((total, part) => total + part.size, 0);
  if (plan.parts.length > 0)
    lines.push(
      `remove  ${plural(plan.parts.length, 'part')} of WAL, ${formatBytes(partBytes)}: longer pieces hold them, too`,
    );
  let shown = 0;
  for (const pack of plan.wait) {
    if (shown++ === shownPacks) break;
    lines.push(`wait    ${pack.id}, ${formatBytes(pack.size)}: ${pack.reason}`);
  }
  if (plan.wait.length > shownPacks) lines.push(`wait    ${plan.wait.length - shownPacks} more packs`);
  if (plan.remove.length + plan.mark.length + plan.parts.length === 0)
    lines.push('there is nothing to do now');
  else lines.push(`nothing was done: \`${['helvino collect --apply', ...place].join(' ')}\` does it`);
  return lines;
}
