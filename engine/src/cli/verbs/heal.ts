import { HelvinoError } from '../../base/errors.ts';
import { plural } from '../../base/format.ts';
import { type ChosenDatabase, chooseDatabase, type LoadedConfig } from '../../config/index.ts';
import { heal, mendDescriptor, planHeal } from '../../operations/copies/index.ts';
import { openConfigured, openStorage, surroundingsOf } from '../../operations/index.ts';
import { copyOption, databaseOption, identitiesOf, identityOption } from '../open.ts';
import { textOption, type Verb } from '../verb.ts';

export const healVerb: Verb = {
  name: 'heal',
  summary: 'mend damage in one copy of the repository from another',
  details: [
    'Reads every byte of the copy, shows what is damaged or missing, and after a confirmation puts what the other copy has in its place.',
    'What is brought is checked before and read back after; then everything is read again.',
  ],
  options: [
    databaseOption,
    { ...copyOption, description: 'the copy to mend, by its name in helvino.yaml (default: the repository)' },
    identityOption,
    {
      flags: '--from <name>',
      description: 'the copy to take from, any repository of helvino.yaml (default: the first other copy)',
    },
    { flags: '--dry-run', description: 'only show the damage' },
    { flags: '--confirm <name>', description: 'the name of the copy to mend again, instead of typing it' },
  ],
  examples: ['helvino heal --dry-run', 'helvino heal --copy second-region --confirm second-region'],
  exits: [{ status: 1, meaning: 'there is damage, or damage is left' }],
  async run(context, options) {
    const loaded = await context.config();
    const chosen = chooseDatabase(loaded, textOption(options, 'database'), textOption(options, 'copy'));
    const from = sourceOf(chosen, loaded, textOption(options, 'from'));
    const surroundings = surroundingsOf(loaded, context.env, chosen.database);
    const source = await openConfigured(from.config, surroundings);
    const confirmed = (what: string) =>
      context.confirm(what, chosen.repositoryName, textOption(options, 'confirm'));
    const request = {
      target: await openConfigured(chosen.repository, surroundings).catch(async (thrown: unknown) => {
        if (!(thrown instanceof HelvinoError) || thrown.code !== 'REPOSITORY_DAMAGED' || options.dryRun)
          throw thrown;
        await confirmed(`Replace helvino.json of ${chosen.repositoryName}, which is damaged`);
        await mendDescriptor(source, await openStorage(chosen.repository.storage, surroundings));
        return openConfigured(chosen.repository, surroundings);
      }),
      source,
      identities: await identitiesOf(context, options),
      database: chosen.name,
      progress: context.progress,
      signal: context.signal,
    };
    const plan = await planHeal(request);
    const copy = chosen.repositoryName;
    const damage = plan.damage.map(({ object, why }) => `DAMAGED  ${object}: ${why}`);
    if (damage.length === 0)
      return { data: { copy, plan }, text: [`${copy} is whole: every stored byte is what was written`] };
    if (options.dryRun)
      return {
        data: { copy, plan },
        text: [...damage, `nothing was done; ${from.name} would be taken from`],
        exit: 1,
      };
    // With --json the plan is in the one answer.
    if (!context.options.json) context.tell({}, damage);
    await confirmed(
      `Replace ${plural(damage.length, 'object')} of ${copy}, and what else turns out to be damaged`,
    );
    const report = await heal(request, plan);
    return {
      data: { copy, from: from.name, plan, ...report },
      text: [
        ...report.left.map(({ object, why }) => `LEFT     ${object}: ${why}`),
        `${report.verdict}: ${plural(report.mended.length, 'object')} of ${copy} mended from ${from.name}`,
      ],
      exit: report.verdict === 'passed' ? 0 : 1,
    };
  },
};

function sourceOf(
  { others, repositoryName }: ChosenDatabase,
  { config }: LoadedConfig,
  wanted: string | undefined,
): ChosenDatabase['others'][number] {
  if (wanted === undefined && others[0] !== undefined) return others[0];
  const named = wanted === undefined || wanted === repositoryName ? undefined : config.repositories[wanted];
  if (wanted !== undefined && named !== undefined) return { name: wanted, config: named };
  const names = Object.keys(config.repositories).filter((name) => name !== repositoryName);
  throw new HelvinoError('USAGE', `there is no ${wanted ?? 'other copy'} to mend ${repositoryName} from`, {
    hint: names.length > 0 ? `--from ${names.join(' | ')}` : 'name copies under `copies` in helvino.yaml',
  });
}
