import type { Client } from 'pg';
import { formatBytes, formatTime } from '../../base/format.ts';
import { chooseDatabase } from '../../config/index.ts';
import {
  connectAside,
  dropKept,
  findKept,
  type KeptDatabase,
  listKept,
  undoSwap,
} from '../../operations/logical/index.ts';
import type { CliContext } from '../context.ts';
import { databaseOption } from '../open.ts';
import { table } from '../output/table.ts';
import { serverOf, urlOptions } from '../server.ts';
import { type OptionValues, textOption, type Verb } from '../verb.ts';

const argument = { name: '<kept>', description: 'the name under which a database is kept' };
const dryRun = { flags: '--dry-run', description: 'only say what would be done' };
const confirm = { flags: '--confirm <name>', description: 'the name again, instead of typing it' };

const list: Verb = {
  name: 'swap list',
  summary:
    'list the databases that a restore has replaced, and that are kept, and what cut off restores have left',
  options: [databaseOption, ...urlOptions],
  examples: ['helvino swap list'],
  async run(context, options) {
    const kept = await onServer(context, options, (client) => listKept(client));
    return { data: { kept }, text: listText(kept) };
  },
};

function becameWords({ helvino, by }: KeptDatabase): string {
  if (helvino === 'restoring')
    return `left by a restore of ${by}: cut off, found different, or still running`;
  return helvino === 'replaced' ? `replaced by ${by}` : `came from ${by}, and was sent back`;
}

function listText(kept: readonly KeptDatabase[]): string[] {
  if (kept.length === 0) return ['no database is kept'];
  return table(
    [
      { title: 'kept as' },
      { title: 'was' },
      { title: 'since' },
      { title: 'size', align: 'right' },
      { title: '' },
    ],
    kept.map((one) => [
      one.kept,
      one.name,
      formatTime(new Date(one.at)),
      formatBytes(one.size),
      becameWords(one),
    ]),
  );
}

const undo: Verb = {
  name: 'swap undo',
  summary: 'bring a replaced database back into its place; what is there now is kept in turn',
  arguments: [argument],
  options: [databaseOption, ...urlOptions, dryRun, confirm],
  examples: ['helvino swap undo helvino_prod_before_20261125_153301'],
  async run(context, options, [wanted = '']) {
    return onServer(context, options, async (client) => {
      const kept = await findKept(client, wanted, { toUndo: true });
      const what = `Put ${kept.kept} back in the place of ${kept.name}; its sessions are ended`;
      if (options.dryRun) return { data: { ...kept, done: false }, text: [what, 'nothing was done'] };
      await context.confirm(what, kept.name, textOption(options, 'confirm'));
      const keptAs = await undoSwap(client, kept, context.clock.now());
      return {
        data: { ...kept, done: true, keptAs: keptAs || undefined },
        text: [
          `${kept.name} is again what it was`,
          ...(keptAs ? [`what was there is kept as ${keptAs}`] : []),
        ],
      };
    });
  },
};

const confirmVerb: Verb = {
  name: 'swap confirm',
  summary: 'drop a database that a restore has replaced',
  arguments: [argument],
  options: [databaseOption, ...urlOptions, dryRun, confirm],
  examples: ['helvino swap confirm helvino_prod_before_20261125_153301 --dry-run'],
  async run(context, options, [wanted = '']) {
    return onServer(context, options, async (client) => {
      const kept = await findKept(client, wanted);
      const was =
        kept.helvino === 'restoring'
          ? `which a restore of ${kept.name} has left`
          : `which was ${kept.name} until ${formatTime(new Date(kept.at))}`;
      const what = `Drop ${kept.kept} (${formatBytes(kept.size)}), ${was}`;
      if (options.dryRun) return { data: { ...kept, done: false }, text: [what, 'nothing was done'] };
      await context.confirm(what, kept.kept, textOption(options, 'confirm'));
      await dropKept(client, kept);
      return { data: { ...kept, done: true }, text: [`${kept.kept} is gone`] };
    });
  },
};

/** The repository is not needed: what is kept says so itself. */
async function onServer<T>(
  context: CliContext,
  options: OptionValues,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const loaded = textOption(options, 'url') === undefined ? await context.config() : undefined;
  const chosen = loaded && chooseDatabase(loaded, textOption(options, 'database'));
  const connection = await serverOf(context, options, { chosen, loaded });
  const client = await connectAside(connection, { signal: context.signal });
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

export const swapVerbs: readonly Verb[] = [list, undo, confirmVerb];
