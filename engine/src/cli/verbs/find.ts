import { HelvinoError } from '../../base/errors.ts';
import { formatTime, plural, printable, shellWord } from '../../base/format.ts';
import {
  type FindResult,
  type FoundTransaction,
  findTransactions,
  parseMoment,
} from '../../operations/find/index.ts';
import { formatLsn, type RelationChange } from '../../postgres/index.ts';
import {
  copyOption,
  databaseOption,
  identityOption,
  neededDatabase,
  openToRead,
  repositoryOption,
} from '../open.ts';
import { placeWords, readPlaces } from '../place-words.ts';
import { listOption, type OptionValues, textOption, type Verb } from '../verb.ts';

export const findVerb: Verb = {
  name: 'find',
  summary: 'find the transactions that dropped, truncated, deleted or changed something',
  details: [
    'Reads the index that `wal stream` makes of the WAL it stores: for each transaction its time, number and position, and per table the',
    'rows inserted, updated and deleted, tables created, dropped, truncated and rewritten, databases dropped. Rolled back work does not',
    'count. For each transaction the command is printed that restores to just before it, if a backup leads there; and where rows were deleted',
    'or changed, the one that plans to bring back those of one tenant, into the live database. Needs nothing but the repository; WAL that has no index yet is',
    'read itself when the recovery identity is given. "≥" marks a transaction that began before the first stored WAL.',
  ],
  options: [
    databaseOption,
    copyOption,
    identityOption,
    repositoryOption,
    {
      flags: '--since <time>',
      description: 'today, yesterday, a day (2026-11-25, local), "2 hours ago", or a time with its zone',
    },
    { flags: '--until <time>', description: 'the same; of a day all of it' },
    {
      flags: '--table <name...>',
      description: 'table, schema.table or database.schema.table, with its partitions; * for any text',
    },
    { flags: '--drops', description: 'dropped tables and databases' },
    { flags: '--truncates', description: 'truncated tables' },
    { flags: '--deletes-over <rows>', description: 'more than so many rows deleted in all, or from --table' },
    { flags: '--updates-over <rows>', description: 'more than so many rows updated in all, or in --table' },
    { flags: '--xid <number>', description: 'this transaction' },
    { flags: '--timeline <number>', description: 'only this timeline (default: all)' },
    { flags: '--all', description: 'also transactions that changed no table' },
    { flags: '--limit <number>', description: 'the newest so many', default: '20' },
  ],
  examples: [
    'helvino find --drops --truncates --since yesterday',
    'helvino find --table conversations --deletes-over 1000',
    'helvino find --since "2 hours ago" --json',
  ],
  exits: [{ status: 1, meaning: 'nothing was found, or some WAL could not be searched' }],
  async run(context, options) {
    const access = await openToRead(context, options);
    const now = context.clock.now();
    const moment = (name: string, of: 'begin' | 'end') => {
      const text = textOption(options, name);
      return text === undefined ? undefined : parseMoment(text, now, of);
    };
    const result = await findTransactions({
      repository: access.repository,
      identities: access.identities,
      database: neededDatabase(access),
      timeline: numberOption(options, 'timeline'),
      limit: limitOf(options),
      progress: context.progress,
      signal: context.signal,
      filter: {
        since: moment('since', 'begin'),
        until: moment('until', 'end'),
        tables: listOption(options, 'table'),
        drops: options.drops === true,
        truncates: options.truncates === true,
        deletesOver: numberOption(options, 'deletesOver'),
        updatesOver: numberOption(options, 'updatesOver'),
        xid: numberOption(options, 'xid'),
        all: options.all === true,
      },
    });
    const place = placeWords(context, options, readPlaces);
    const commands = (transaction: FoundTransaction) => commandsFor(transaction, place);
    const complete = result.transactions.length > 0 && result.notSearched.length === 0;
    return {
      data: { ...result, transactions: result.transactions.map((t) => transactionData(t, commands(t))) },
      text: findText(result, { options, place, commands }),
      ...(complete ? {} : { exit: 1 }),
    };
  },
};

function limitOf(options: OptionValues): number {
  const limit = numberOption(options, 'limit') ?? 20;
  if (limit > 0) return limit;
  throw new HelvinoError('USAGE', 'a limit of 0 leaves nothing to find', { hint: 'write 1 or more' });
}

function numberOption(options: OptionValues, name: string): number | undefined {
  const text = textOption(options, name);
  if (text === undefined) return undefined;
  if (!/^\d{1,10}$/.test(text))
    throw new HelvinoError('USAGE', `"${text}" is no number`, { hint: 'write a whole number, 0 or more' });
  return Number(text);
}

interface Commands {
  /** Restores to just before the transaction; null where no backup leads there. */
  readonly restore: string | null;
  /** Plans to bring one tenant's rows back; undefined where no rows were deleted or changed. */
  readonly rescue?: string;
}

/** `place`: where it was looked. */
export function commandsFor(transaction: FoundTransaction, place: readonly string[]): Commands {
  const { xid, timeline, changes, isPast, unreachable } = transaction;
  if (unreachable !== undefined) return { restore: null };
  const where = [...(isPast ? [`--timeline ${timeline}`] : []), ...place];
  const restore = ['helvino restore', `--to before:xid:${xid}`, ...where, '--to-directory FOLDER'].join(' ');
  // What was done on a timeline after it was left is not in the live database.
  const harmed = isPast ? [] : changes.filter(({ deleted, updated }) => deleted > 0 || updated > 0);
  if (harmed.length === 0) return { restore };
  const plan = ['helvino rescue plan', '--root TENANTS --key KEY', `--before xid:${xid}`];
  // Changed rows are put back only when it is known that the accident changed them.
  if (harmed.some(({ updated }) => updated > 0)) plan.push(`--accident xid:${xid} --revert`);
  const databases = new Set(harmed.map(({ database }) => database));
  const [database = ''] = databases;
  if (databases.size === 1) plan.push(`--dbname ${isUnnamed(database) ? 'DATABASE' : shellWord(database)}`);
  return { restore, rescue: [...plan, ...where, '--out FILE'].join(' ') };
}

/** As the index calls a database of which no catalog snapshot knew the name. */
function isUnnamed(database: string): boolean {
  return /^database \d+$/.test(database);
}

export function databaseWords(name: string): string {
  return isUnnamed(name) ? name : `database ${printable(name)}`;
}

function transactionData(transaction: FoundTransaction, commands: Commands): Record<string, unknown> {
  const { xid, timeline, partial, changes, droppedDatabases, unreachable } = transaction;
  return {
    xid,
    timeline,
    time: isoTime(transaction.time),
    lsn: formatLsn(transaction.lsn),
    end: formatLsn(transaction.end),
    partial,
    changes,
    droppedDatabases,
    ...commands,
    ...(unreachable === undefined ? {} : { unreachable }),
  };
}

/** Microseconds are kept: two transactions can be of one millisecond. */
function isoTime(microseconds: number): string {
  const whole = new Date(Math.floor(microseconds / 1000)).toISOString();
  return whole.replace('Z', `${String(microseconds % 1000).padStart(3, '0')}Z`);
}

/** The index knows transactions that were committed, by their own number. */
function otherNumbers(options: OptionValues, place: readonly string[]): string[] {
  const xid = numberOption(options, 'xid');
  if (xid === undefined) return [];
  const timeline = textOption(options, 'timeline');
  const where = [...(timeline === undefined ? [] : [`--timeline ${timeline}`]), ...place];
  return [
    `if ${xid} is the number of a savepoint's work, of a prepared transaction, or of one that was rolled back, this says so:`,
    `    ${['helvino restore', `--to xid:${xid}`, ...where, '--to-directory FOLDER --dry-run'].join(' ')}`,
  ];
}

function findText(
  result: FindResult,
  {
    options,
    place,
    commands,
  }: {
    options: OptionValues;
    place: readonly string[];
    commands: (transaction: FoundTransaction) => Commands;
  },
): string[] {
  const lines: string[] = [];
  for (const transaction of result.transactions) {
    const { timeline, partial, droppedDatabases, unreachable } = transaction;
    const on = timeline === result.newestTimeline ? '' : `  timeline ${timeline}`;
    const time = formatTime(new Date(transaction.time / 1000));
    lines.push(`${time}  transaction ${transaction.xid}  ${formatLsn(transaction.lsn)}${on}`);
    for (const name of droppedDatabases) lines.push(`    ${databaseWords(name)}: dropped`);
    for (const change of transaction.changes) lines.push(`    ${changeText(change, partial)}`);
    const { restore, rescue } = commands(transaction);
    lines.push(`    just before it: ${restore ?? `cannot be restored: ${unreachable}`}`);
    if (rescue !== undefined) lines.push(`    one tenant's rows back: ${rescue}`);
  }
  if (result.transactions.length === 0)
    lines.push('no such transaction was found', ...otherNumbers(options, place));
  if (result.more) lines.push('', 'there are more: raise --limit, or narrow it down with --since, --table …');
  for (const { timeline, from, to, why } of result.notSearched)
    lines.push('', `not searched: WAL of timeline ${timeline} from ${from} to ${to}: ${why}`);
  return lines;
}

function changeText(change: RelationChange, partial: boolean): string {
  const { oid, file, database, schema, name } = change;
  const unnamed = `relation ${oid ?? `with file ${file}`}`;
  const table = name === undefined ? unnamed : [schema, name].filter((part) => part !== undefined).join('.');
  const rows = (count: number) => `${partial ? '≥ ' : ''}${plural(count, 'row')}`;
  const what = [
    change.dropped && 'dropped',
    change.truncated && 'truncated',
    change.created && 'created',
    change.rewritten && 'rewritten',
    change.deleted > 0 && `${rows(change.deleted)} deleted`,
    change.updated > 0 && `${rows(change.updated)} updated`,
    change.inserted > 0 && `${rows(change.inserted)} inserted`,
  ];
  return `${printable(`${database} ${table}`)}: ${what.filter(Boolean).join(', ') || 'changed'}`;
}
