import { resolve } from 'node:path';
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { shellWord } from '../../base/format.ts';
import { idStamp } from '../../base/ids.ts';
import { chooseDatabase, type DatabaseConfig } from '../../config/index.ts';
import {
  type ApplyResult,
  applyRescue,
  type PlanOptions,
  planRescue,
  type RescuePolicies,
  resolveRoot,
  showChanges,
  type TablePolicy,
  undoRescue,
} from '../../operations/rescue/index.ts';
import type { CliContext } from '../context.ts';
import { copyOption, databaseOption, identityOption, openToRead, repositoryOption } from '../open.ts';
import { appliedText, planText, rootText, showText } from '../output/rescue-text.ts';
import { placeWords } from '../place-words.ts';
import {
  type ApplyCommon,
  applyOptions,
  applySettings,
  confirmationOf,
  conflictOptions,
  dbnameOption,
  modelOf,
} from '../rescue-options.ts';
import { onLive, withPastServer } from '../rescue-servers.ts';
import { serverOf, urlOptions } from '../server.ts';
import { temporaryServerOptions } from '../temporary-server.ts';
import { listOption, type OptionValues, textOption, type Verb, type VerbResult } from '../verb.ts';

const plan: Verb = {
  name: 'rescue plan',
  summary:
    "compare one tenant's rows of before an accident with those of now, and write a plan to bring them back",
  details: [
    'Starts a throw-away server as of --before, finds there which rows belong to the root (what refers to it, and to that, over foreign',
    'keys and what `rescue.references` in the configuration says), compares them with the live database, and writes a file. The live',
    'database is only read: it must be a primary, as temporary tables are made there. The role needs to read the tables.',
    'Missing rows come back; --revert also puts back rows that changed, --remove removes rows that were added. With --accident (a moment just',
    'after it) only what the accident did is put back, and later work stays; without it nobody can tell one from the other.',
  ],
  options: [
    databaseOption,
    copyOption,
    identityOption,
    repositoryOption,
    ...urlOptions,
    dbnameOption,
    { flags: '--root <table>', description: 'the table of the tenants: table or schema.table' },
    {
      flags: '--key <key...>',
      description: 'which row: a value of a unique column, or column=value (again for more columns)',
    },
    {
      flags: '--before <target>',
      description:
        'just before the accident: xid:N (before that transaction; `helvino find` names it), or what `restore --to` takes',
    },
    {
      flags: '--accident <target>',
      description: 'just after it, e.g. xid:N: tells its work from later work',
    },
    { flags: '--timeline <number>', description: 'the timeline to recover along (default: the newest)' },
    { flags: '--revert', description: 'also put back rows that changed' },
    { flags: '--remove', description: 'also remove rows that were added' },
    { flags: '--no-insert', description: 'do not bring back missing rows' },
    {
      flags: '--table <table=words...>',
      description: 'other words for one table: insert,revert,remove or none',
    },
    { flags: '--undo-since', description: 'with --accident: put back what was done after it, too' },
    ...conflictOptions,
    { flags: '-o, --out <file>', description: 'the plan (default: rescue-TABLE-TIME.plan)' },
    ...temporaryServerOptions,
  ],
  examples: [
    'helvino rescue plan --root organizations --key demo --before xid:4711 --identity identity.txt',
    'helvino rescue plan --root organizations --key id=17 --before xid:4711 --accident xid:4711 --revert --identity identity.txt',
  ],
  exits: [{ status: 1, meaning: 'the plan was written and has problems: it cannot be applied as it is' }],
  async run(context, options) {
    const access = await openToRead(context, options);
    const before = needed(options, 'before', 'a moment just before the accident: --before xid:N').replace(
      /^xid:/,
      'before:xid:',
    );
    const accident = textOption(options, 'accident');
    const connection = await serverOf(context, options, access);
    const database = textOption(options, 'dbname') ?? connection.database;
    const target = { access, database };
    const settings = access.chosen?.database.rescue;
    const summary = await withPastServer(context, options, { ...target, target: before }, (past) => {
      const go = (third?: { readonly client: Client; readonly moment: string }) =>
        onLive(context, { connection, database }, (now) =>
          planWith(context, options, {
            before: past.client,
            accident: third?.client,
            now,
            model: modelOf(settings),
            policies: policiesOf(options, settings),
            moments: { before: past.moment, accident: third?.moment },
          }),
        );
      return accident === undefined
        ? go()
        : withPastServer(context, options, { ...target, target: accident }, go);
    });
    const place = placeWords(context, options, ['database', 'dbname']);
    const apply = ['helvino rescue apply', shellWord(summary.file), ...place, '--dry-run'].join(' ');
    const next = summary.problems.length === 0 ? [`next: ${apply}`] : [];
    return {
      data: summary,
      text: [...planText(summary), ...next],
      ...(summary.problems.length > 0 ? { exit: 1 } : {}),
    };
  },
};

type Servers = Pick<PlanOptions, 'before' | 'accident' | 'now' | 'model' | 'policies'> & {
  readonly moments: NonNullable<PlanOptions['moments']>;
};

async function planWith(context: CliContext, options: OptionValues, servers: Servers) {
  const table = needed(options, 'root', 'the table of the tenants: --root TABLE');
  const root = await resolveRoot(servers.before, { table, keys: listOption(options, 'key') });
  const time = idStamp(context.clock.now());
  const name = `rescue-${table.replace(/\W+/g, '-')}-${time}.plan`;
  return planRescue({
    ...servers,
    ...context,
    root,
    file: resolve(context.cwd, textOption(options, 'out') ?? name),
  });
}

function needed(options: OptionValues, name: string, hint: string): string {
  const value = textOption(options, name);
  if (value !== undefined) return value;
  throw new HelvinoError('USAGE', `--${name} was not given`, { hint });
}

const nothing: TablePolicy = { insert: false, revert: false, remove: false };

function policiesOf(options: OptionValues, settings: DatabaseConfig['rescue'] | undefined): RescuePolicies {
  const tables: Record<string, TablePolicy> = {};
  for (const [name, words] of Object.entries(settings?.tables ?? {}))
    tables[name] = { ...nothing, ...Object.fromEntries(words.map((word) => [word, true])) };
  for (const text of listOption(options, 'table')) {
    const [, name = '', list = ''] = /^(.+)=([a-z,]+)$/.exec(text) ?? [];
    const words = list === 'none' ? [] : list.split(',');
    if (name === '' || words.some((word) => !(word in nothing)))
      throw new HelvinoError('USAGE', `"${text}" says nothing of a table`, {
        hint: '--table public.messages=insert,revert, or =none',
      });
    tables[name] = { ...nothing, ...Object.fromEntries(words.map((word) => [word, true])) };
  }
  return {
    all: {
      insert: options.insert !== false,
      revert: options.revert === true,
      remove: options.remove === true,
    },
    tables,
    undoSince: options.undoSince === true,
    onConflict: textOption(options, 'onConflict') as RescuePolicies['onConflict'],
    onSchemaChange: textOption(options, 'onSchemaChange') as RescuePolicies['onSchemaChange'],
  };
}

const show: Verb = {
  name: 'rescue show',
  summary: 'show what is in a plan, or in a file that undoes one',
  details: ['Keys of a few rows are shown, values only with --show-values.'],
  arguments: [{ name: '<file>', description: 'a plan, or an undo file' }],
  options: [
    { flags: '--show-values', description: 'three rows of each table, with their values' },
    { flags: '--sql', description: 'the statements that apply runs' },
  ],
  examples: ['helvino rescue show rescue-organizations-20261125T153301Z.plan --sql'],
  async run(context, options, [file = '']) {
    const shown = await showChanges(resolve(context.cwd, file), options.showValues === true ? 3 : 0);
    return { data: shown, text: showText(shown, options.sql === true) };
  },
};

const sha256Option = {
  flags: '--sha256 <hash>',
  description: 'refuse the file unless this is its SHA-256, as `rescue plan` or `rescue show` printed it',
};

const apply: Verb = {
  name: 'rescue apply',
  summary: 'write the rows of a plan into the live database, in one transaction',
  details: [
    'Every row is checked again: one that is no longer as the plan saw it stops the whole, or is left alone with --on-moved skip. The role needs',
    'to write the tables: --url names one. The file that undoes it is durable before the commit. Run again, it does what is still to be done,',
    'or says that nothing is. Foreign keys are checked, by the server or by Helvino; sequences only go forward.',
  ],
  arguments: [{ name: '<plan>', description: 'the file that `rescue plan` has written' }],
  options: [
    ...applyOptions,
    sha256Option,
    { flags: '--undo <file>', description: 'what undoes it (default: the plan with .undo)' },
  ],
  examples: [
    'helvino rescue apply rescue-organizations-20261125T153301Z.plan --dry-run',
    'helvino rescue apply rescue-organizations-20261125T153301Z.plan --url postgresql://app@db.internal/app --confirm demo',
  ],
  async run(context, options, [file = '']) {
    const planFile = resolve(context.cwd, file);
    const undoFile = resolve(context.cwd, textOption(options, 'undo') ?? `${planFile}.undo`);
    return change(context, options, {
      file: planFile,
      undo: false,
      work: (common) => applyRescue({ ...common, planFile, undoFile }),
    });
  },
};

const undo: Verb = {
  name: 'rescue undo',
  summary: 'put back what was there before a rescue',
  details: [
    'Refuses when rows were changed since the rescue, or when others refer to what came with it. The undo has an undo file, too.',
  ],
  arguments: [{ name: '<file>', description: 'the undo file that `rescue apply` has written' }],
  options: [
    ...applyOptions,
    sha256Option,
    { flags: '--redo <file>', description: 'what undoes the undo (default: the file with .redo)' },
  ],
  examples: ['helvino rescue undo rescue-organizations-20261125T153301Z.plan.undo --dry-run'],
  async run(context, options, [file = '']) {
    const undoFile = resolve(context.cwd, file);
    const redoFile = resolve(context.cwd, textOption(options, 'redo') ?? `${undoFile}.redo`);
    return change(context, options, {
      file: undoFile,
      undo: true,
      work: (common) => undoRescue({ ...common, undoFile, redoFile }),
    });
  },
};

async function change(
  context: CliContext,
  options: OptionValues,
  request: {
    readonly file: string;
    readonly undo: boolean;
    readonly work: (common: ApplyCommon) => Promise<ApplyResult>;
  },
): Promise<VerbResult> {
  const { file, undo: isUndo, work } = request;
  const shown = await showChanges(file, 0);
  const sha256 = textOption(options, 'sha256') ?? shown.sha256;
  if (sha256 !== shown.sha256)
    throw new HelvinoError('PLAN_CHANGED', `${file} has the SHA-256 ${shown.sha256}, not ${sha256}`, {
      hint: 'it is not the file that was told of: nothing was changed',
    });
  const loaded = textOption(options, 'url') === undefined ? await context.config() : undefined;
  const chosen = loaded && chooseDatabase(loaded, textOption(options, 'database'));
  const connection = await serverOf(context, options, { chosen, loaded });
  const database = textOption(options, 'dbname') ?? shown.database;
  const dryRun = options.dryRun === true;
  const problems = shown.kind === 'plan' ? shown.summary.problems : [];
  if (!dryRun && problems.length === 0) {
    if (!context.options.json) context.tell({}, showText(shown, false));
    const name = confirmationOf(shown.root, database);
    const whose = shown.root === undefined ? '' : `, rows of ${rootText(shown.root)}`;
    await context.confirm(
      `${isUndo ? 'Undo a rescue' : 'Write these rows'} in the live database ${database}${whose}`,
      name,
      textOption(options, 'confirm'),
    );
  }
  const result = await onLive(context, { connection, database }, (now) =>
    work({
      ...context,
      now,
      dryRun,
      sha256,
      ...applySettings(options),
    }),
  );
  const place = placeWords(context, options, ['database', 'dbname']);
  return { data: result, text: appliedText(result, isUndo, place) };
}

export const rescueVerbs: readonly Verb[] = [plan, show, apply, undo];
