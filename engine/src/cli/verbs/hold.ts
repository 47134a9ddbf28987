import { hostname, userInfo } from 'node:os';
import { HelvinoError } from '../../base/errors.ts';
import { formatTime } from '../../base/format.ts';
import { chooseBackup } from '../../catalog/index.ts';
import { parseDuration } from '../../config/index.ts';
import { addHold, type Hold, liftHold, listHolds } from '../../repository/index.ts';
import type { CliContext } from '../context.ts';
import { copyOption, databaseOption, openAsHost } from '../open.ts';
import { table } from '../output/table.ts';
import { type OptionValues, textOption, type Verb } from '../verb.ts';

/** A hold is put and lifted on every copy. */
const everywhere = { everywhere: true };

const add: Verb = {
  name: 'hold add',
  summary: 'say that a backup must not go',
  details: [
    'Retention keeps it and `helvino remove` refuses it, until the hold is lifted or ends. A pin binds retention only. With --all every',
    'backup is held, also those to come: retention then stands still.',
  ],
  arguments: [{ name: '[backup]', description: 'id, the beginning of one, or latest' }],
  options: [
    databaseOption,
    copyOption,
    { flags: '--reason <text>', description: 'why: a case, a person, a ticket' },
    {
      flags: '--until <time>',
      description: 'when it ends by itself: a date, a time with its zone, or a duration',
    },
    { flags: '--pin', description: 'bind retention only' },
    { flags: '--all', description: 'every backup of the database' },
  ],
  examples: [
    'helvino hold add 20261125T120302Z --reason "case 4711" --until 2033-12-31',
    'helvino hold add latest --pin --reason "before the migration" --until 90d',
    'helvino hold add --all --reason "incident of today"',
  ],
  async run(context, options, [wanted]) {
    const reason = textOption(options, 'reason')?.trim();
    if (!reason) throw new HelvinoError('USAGE', 'a hold needs a reason', { hint: '--reason "case 4711"' });
    if ((wanted === undefined) !== (options.all === true))
      throw new HelvinoError('USAGE', 'a hold is on one backup, or on all of them', {
        hint: 'name a backup, or give --all',
      });
    const until = untilOf(options, context.clock.now());
    const { repositoryHandle: repository, name: database } = await openAsHost(context, options, everywhere);
    const names = [...(await repository.backups(database)), ...(await repository.lostBackups(database))];
    const backup = wanted === undefined ? undefined : chooseBackup(names, wanted, database).id;
    const hold = await addHold(repository, {
      database,
      backup,
      reason,
      until: until?.toISOString(),
      pin: options.pin === true,
      by: caller(context),
      from: context.clock.now().toISOString(),
    });
    return {
      data: hold,
      text: [`${what(hold)} ${hold.id} on ${on(hold)}${until ? ` until ${formatTime(until)}` : ''}`],
    };
  },
};

const list: Verb = {
  name: 'hold list',
  summary: 'list the holds and pins in force',
  options: [databaseOption, copyOption],
  examples: ['helvino hold list'],
  async run(context, options) {
    const { repositoryHandle: repository, name: database } = await openAsHost(context, options);
    const holds = await listHolds(repository, { database, now: await repository.driver.now() });
    if (holds.length === 0) return { data: { holds }, text: ['nothing is held'] };
    const rows = holds.map((hold) => [
      hold.id,
      what(hold),
      on(hold),
      formatTime(new Date(hold.from)),
      hold.until ? formatTime(new Date(hold.until)) : 'lifted',
      hold.by,
      hold.reason,
    ]);
    const titles = ['id', '', 'backup', 'from', 'until', 'by', 'reason'];
    return {
      data: { holds },
      text: table(
        titles.map((title) => ({ title })),
        rows,
      ),
    };
  },
};

const remove: Verb = {
  name: 'hold remove',
  summary: 'lift a hold or a pin',
  details: [
    'That it was lifted is kept: `helvino copy` does not bring it back from a copy that still has it, and lifts it there.',
  ],
  arguments: [{ name: '<hold>', description: 'the id that `helvino hold list` shows' }],
  options: [
    databaseOption,
    copyOption,
    { flags: '--dry-run', description: 'only say what would be lifted' },
    { flags: '--confirm <hold>', description: 'the id again, instead of typing it' },
  ],
  examples: ['helvino hold remove 9f3a01bc'],
  async run(context, options, [wanted = '']) {
    const { repositoryHandle: repository, name: database } = await openAsHost(context, options, everywhere);
    const holds = await listHolds(repository, { database, now: await repository.driver.now() });
    const hold = holds.find(({ id }) => id === wanted);
    if (!hold)
      throw new HelvinoError('USAGE', `there is no hold ${wanted} on a backup of ${database}`, {
        hint: '`helvino hold list` shows them',
      });
    const says = `Lift ${what(hold)} ${hold.id} on ${on(hold)}: ${hold.reason} (${hold.by})`;
    if (options.dryRun) return { data: { hold, removed: false }, text: [says, 'nothing was done'] };
    await context.confirm(says, hold.id, textOption(options, 'confirm'));
    await liftHold(repository, hold, { by: caller(context), at: context.clock.now().toISOString() });
    return { data: { hold, removed: true }, text: [`${what(hold)} ${hold.id} on ${on(hold)} is lifted`] };
  },
};

function what({ pin }: Hold): string {
  return pin ? 'pin' : 'hold';
}

function on({ backup, database }: Hold): string {
  return backup ?? `every backup of ${database}`;
}

function caller({ env }: CliContext): string {
  const user = env.SUDO_USER ?? userInfo().username;
  return `${user}@${hostname()}`;
}

function untilOf(options: OptionValues, now: Date): Date | undefined {
  const text = textOption(options, 'until');
  if (text === undefined) return undefined;
  const dated = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)? ?(Z|[+-]\d\d:?\d\d))?$/.test(text);
  const until = dated
    ? new Date(text.replace(' ', 'T').replace(' ', ''))
    : new Date(now.getTime() + parseDuration(text) * 1000);
  if (Number.isNaN(until.getTime()) || until <= now)
    throw new HelvinoError('USAGE', `a hold cannot end at "${text}"`, {
      hint: 'give a time to come: 2033-12-31, "2033-12-31 18:00:00Z", or 90d',
    });
  return until;
}

export const holdVerbs: readonly Verb[] = [add, list, remove];
