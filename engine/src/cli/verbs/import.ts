import { resolve } from 'node:path';
import { shellWord } from '../../base/format.ts';
import { idStamp } from '../../base/ids.ts';
import { chooseDatabase } from '../../config/index.ts';
import { openExport, planImport } from '../../operations/rescue/export/index.ts';
import { applyRescue, type RescuePolicies } from '../../operations/rescue/index.ts';
import type { CliContext } from '../context.ts';
import { identityOption, neededIdentities } from '../open.ts';
import { appliedText, planText } from '../output/rescue-text.ts';
import { placeWords } from '../place-words.ts';
import { applyOptions, applySettings, confirmationOf, conflictOptions, modelOf } from '../rescue-options.ts';
import { onLive } from '../rescue-servers.ts';
import { serverOf } from '../server.ts';
import { type OptionValues, textOption, type Verb } from '../verb.ts';

export const importVerb: Verb = {
  name: 'import',
  summary: "bring one organization's exported rows into a database, new or live",
  details: [
    'The folder is checked, loaded into temporary tables and compared with what is there, as `helvino rescue plan` compares the past: rows',
    'that are missing are inserted, equal ones left alone; rows that differ are left, or with --revert become as in the folder; rows that the folder',
    'has not are left, or with --remove removed. Keys stay as they are: when rows of others have them, nothing is done. The tables must be',
    'there. All is one transaction, and what undoes it is durable before the commit; run again, it does what is still to be done.',
    'A folder that is encrypted needs the recovery identity of one of its recipients; the plan and what undoes it hold the rows in clear.',
  ],
  arguments: [{ name: '<folder>', description: 'what `helvino export` has written' }],
  options: [
    ...applyOptions,
    { flags: '--revert', description: 'also make rows that differ as they are in the folder' },
    { flags: '--remove', description: 'also remove rows of the organization that the folder has not' },
    ...conflictOptions,
    identityOption,
    {
      flags: '-o, --out <file>',
      description: 'the plan (default: import-TIME.plan); what undoes it is beside it',
    },
  ],
  examples: [
    'helvino import demo --identity identity.txt --url postgresql://app@db.internal/app --dry-run',
    'helvino import demo --identity identity.txt --url postgresql://app@db.internal/app --confirm demo',
  ],
  exits: [{ status: 1, meaning: 'it cannot be imported as it is: the plan says why' }],
  async run(context, options, [given = '']) {
    const folder = await openExport(resolve(context.cwd, given), () => neededIdentities(context, options));
    const target = await targetOf(context, options);
    const { plan, manifest } = await planIt(context, options, { ...target, folder });
    if (plan.problems.length > 0) return { data: { plan }, text: planText(plan), exit: 1 };
    const dryRun = options.dryRun === true;
    if (!context.options.json) context.tell({}, planText(plan));
    if (!dryRun)
      await context.confirm(
        `Write these rows into the database ${plan.database}`,
        confirmationOf(manifest.root, plan.database),
        textOption(options, 'confirm'),
      );
    const undoFile = `${plan.file}.undo`;
    const applied = await onLive(context, target, (now) =>
      applyRescue({
        ...context,
        ...applySettings(options),
        now,
        dryRun,
        planFile: plan.file,
        sha256: plan.sha256,
        undoFile,
      }),
    );
    const place = placeWords(context, options, ['database', 'dbname']);
    const apply = ['helvino rescue apply', shellWord(plan.file), ...place].join(' ');
    const next = dryRun ? [`next: the same without --dry-run; or ${apply}`] : [];
    return { data: { plan, applied }, text: [...appliedText(applied, false, place), ...next] };
  },
};

type Target = Awaited<ReturnType<typeof targetOf>>;

async function targetOf(context: CliContext, options: OptionValues) {
  const loaded = textOption(options, 'url') === undefined ? await context.config() : undefined;
  const chosen = loaded && chooseDatabase(loaded, textOption(options, 'database'));
  const connection = await serverOf(context, options, { chosen, loaded });
  const database = textOption(options, 'dbname') ?? connection.database;
  return { connection, database, model: modelOf(chosen?.database.rescue) };
}

async function planIt(
  context: CliContext,
  options: OptionValues,
  target: Target & { readonly folder: Awaited<ReturnType<typeof openExport>> },
) {
  const time = idStamp(context.clock.now());
  const file = resolve(context.cwd, textOption(options, 'out') ?? `import-${time}.plan`);
  const policies: RescuePolicies = {
    all: { insert: true, revert: options.revert === true, remove: options.remove === true },
    onConflict: textOption(options, 'onConflict') as RescuePolicies['onConflict'],
    onSchemaChange: textOption(options, 'onSchemaChange') as RescuePolicies['onSchemaChange'],
  };
  return onLive(context, target, (staging) =>
    onLive(context, target, (now) => planImport({ ...context, ...target, staging, now, policies, file })),
  );
}
