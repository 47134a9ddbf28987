/** Drills beyond one: the evidence of a period in one file, and the prediction of a real disaster. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { cannotWrite, HelvinoError } from '../../base/errors.ts';
import { formatBytes, formatDuration, formatTime, plural } from '../../base/format.ts';
import { formatAge } from '../../catalog/index.ts';
import { parseSize } from '../../config/index.ts';
import {
  bundleName,
  collectEvidence,
  knownDrills,
  makeBundle,
  measureOf,
  openPoints,
  predictRecovery,
  readSigningKey,
  signingKeyFile,
} from '../../operations/drill/report/index.ts';
import { parseMoment } from '../../operations/find/index.ts';
import { listBackups } from '../../operations/index.ts';
import { objectivesOf } from '../../operations/retention/index.ts';
import type { CliContext } from '../context.ts';
import {
  copyOption,
  databaseOption,
  identityOption,
  neededDatabase,
  openAsHost,
  openToRead,
  repositoryOption,
} from '../open.ts';
import { facts } from '../output/table.ts';
import { type OptionValues, textOption, type Verb } from '../verb.ts';

const evidence: Verb = {
  name: 'drill evidence',
  summary: 'write the evidence of a period into one file: drills, reports, gaps, failures, backups',
  details: [
    'A tar.gz with all reports and their signatures, the public keys, and an index of backups, drills, gaps against the objectives, failures',
    'and their re-tests, also of backups that retention has removed since. The same repository, period and key give the same bytes.',
  ],
  options: [
    databaseOption,
    copyOption,
    { flags: '--from <time>', description: 'a day, or a time with its zone' },
    { flags: '--to <time>', description: 'a day, to its end, or a time with its zone (default: now)' },
    {
      flags: '-o, --output <file>',
      description: 'where it is written (default: a name with database and period)',
    },
  ],
  examples: [
    'helvino drill evidence --from 2026-01-01 --to 2026-12-31',
    'helvino drill evidence --from 2026-10-01 --output q4.tar.gz --json',
  ],
  exits: [{ status: 1, meaning: 'written, and something in the period asks for an explanation' }],
  async run(context, options) {
    const host = await openAsHost(context, options);
    const { repositoryHandle: repository, name: database, database: settings } = host;
    const period = await periodOf(options, await repository.driver.now());
    const key = await readSigningKey(signingKeyFile(host.loaded.file));
    if (!key)
      context.progress.note('warn', 'the list of files is not signed: `helvino drill key` makes the key');
    context.progress.phase('collecting reports and backups');
    const collected = await collectEvidence({
      repository,
      database,
      ...period,
      drillEvery: settings.health.drillEvery,
      maxAge: (kind) => objectivesOf(settings, kind).maxAge,
    });
    const file = textOption(options, 'output') ?? `${bundleName(collected)}.tar.gz`;
    const bytes = makeBundle(collected, key);
    await writeNew(context, file, bytes);
    const { index } = collected;
    const open = openPoints(index);
    return {
      data: { file, bytes: bytes.length, signed: key?.id, openPoints: open, index },
      text: [
        `wrote ${file} (${formatBytes(bytes.length)}${key ? `, signed by ${key.id.slice(0, 16)}…` : ', not signed'})`,
        `${formatTime(period.from)} to ${formatTime(period.to)}: ${plural(index.drills.list.length, 'drill')}, ${plural(index.backups.list.length, 'backup')}`,
        ...(open.length === 0 ? ['nothing is open'] : ['open:', ...open.map((point) => `  ${point}`)]),
      ],
      exit: open.length === 0 ? 0 : 1,
    };
  },
};

async function periodOf(options: OptionValues, now: Date): Promise<{ from: Date; to: Date }> {
  const given = textOption(options, 'from');
  if (given === undefined)
    throw new HelvinoError('USAGE', 'the beginning of the period is needed', { hint: '--from 2026-01-01' });
  const until = textOption(options, 'to');
  const from = new Date(parseMoment(given, now) / 1000);
  let to = until === undefined ? now : new Date(parseMoment(until, now) / 1000);
  // A day is meant to its end.
  if (until !== undefined && /^\d{4}-\d{2}-\d{2}$/.test(until.trim()))
    to = new Date(to.getFullYear(), to.getMonth(), to.getDate() + 1);
  if (to > now) to = now;
  to.setUTCMilliseconds(0);
  if (from < to) return { from, to };
  throw new HelvinoError('USAGE', `the period from ${formatTime(from)} to ${formatTime(to)} is empty`, {
    hint: 'it begins before it ends, and ends now at the latest',
  });
}

async function writeNew({ cwd }: CliContext, file: string, bytes: Buffer): Promise<void> {
  try {
    await writeFile(resolve(cwd, file), bytes, { flag: 'wx' });
  } catch (cause) {
    throw cannotWrite(file, cause, 'choose a file that does not exist, in a folder that you may write to');
  }
}

const predict: Verb = {
  name: 'drill predict',
  summary: 'say how long a real recovery would take, from what drills have measured',
  details: [
    'For the newest physical backup, or for any size. What a network between the store and a new host does to it: --bandwidth. How far',
    'earlier predictions were off is what each drill measured against those before it.',
  ],
  options: [
    databaseOption,
    copyOption,
    identityOption,
    repositoryOption,
    {
      flags: '--size <size>',
      description: 'of the database, e.g. 2TiB (default: the newest physical backup)',
    },
    { flags: '--wal <size>', description: 'of the stored WAL that is replayed (default: as in the drills)' },
    { flags: '--bandwidth <rate>', description: 'from the store to the new host, e.g. "50 MiB/s"' },
  ],
  examples: ['helvino drill predict', 'helvino drill predict --size 2TiB --bandwidth "100 MiB/s"'],
  async run(context, options) {
    const access = await openToRead(context, options);
    const database = neededDatabase(access);
    const { drills } = await knownDrills(access.repository, database);
    const physical = new Set(['full', 'incremental']);
    const measured = drills.flatMap(({ signed }) =>
      physical.has(signed.document.backup.kind) ? (measureOf(signed.document.report) ?? []) : [],
    );
    const backups = await listBackups(access.repository, database);
    const newest = backups.findLast(({ manifest }) => manifest?.facts.method === 'physical')?.manifest;
    const [size, wal, rate] = ['size', 'wal', 'bandwidth'].map((name) => textOption(options, name));
    const bytes = size === undefined ? newest?.totals.bytes : parseSize(size);
    if (bytes === undefined)
      throw new HelvinoError('BACKUP_NOT_FOUND', `there is no physical backup of ${database}`, {
        hint: 'give --size',
      });
    // What is stored is smaller than what is restored, as it is for the newest backup.
    const stored = newest ? (bytes * newest.totals.referenced) / Math.max(1, newest.totals.bytes) : bytes;
    const bytesPerSecond = rate === undefined ? undefined : parseSize(rate);
    const made = predictRecovery(measured, {
      bytes,
      walBytes: wal === undefined ? undefined : parseSize(wal),
      bandwidth: bytesPerSecond === undefined ? undefined : { bytesPerSecond, stored },
    });
    if (!made)
      throw new HelvinoError('STORAGE_NOT_FOUND', `no drill has measured a recovery of ${database} yet`, {
        hint: 'run one: helvino drill',
      });
    const { fixed, restore, recover } = made.parts;
    const range = made.rangeSeconds?.map(formatDuration);
    return {
      data: { bytes, stored, ...made },
      text: facts([
        ['recovery takes', `about ${formatDuration(made.rtoSeconds)} for ${formatBytes(bytes)}`],
        [
          'between',
          range
            ? `${range[0]} and ${range[1]}: predictions were off by up to ${made.errorPercent} %`
            : 'not known: a prediction has not been compared with another drill yet',
        ],
        [
          'of that',
          `${formatDuration(restore)} restoring, ${formatDuration(recover)} starting and replaying WAL, ${formatDuration(fixed)} else`,
        ],
        ['rests on', made.basis],
        ['newest drill', ageOf(drills.at(-1)?.signed.document.report.finished, context)],
      ]),
    };
  },
};

function ageOf(finished: string | undefined, { clock }: CliContext): string | undefined {
  if (finished === undefined) return undefined;
  return `${formatAge((clock.now().getTime() - Date.parse(finished)) / 1000)} ago`;
}

export const drillEvidenceVerbs: readonly Verb[] = [evidence, predict];
