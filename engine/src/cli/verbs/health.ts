import { formatBytes, formatDuration, formatTime } from '../../base/format.ts';
import { formatAge, type Severity } from '../../catalog/index.ts';
import { chooseDatabase, type LoadedConfig, parseDuration, parseSize } from '../../config/index.ts';
import { type HealthReport, health, unknownHealth, worst } from '../../operations/health/index.ts';
import { connectionOf, openConfigured, surroundingsOf } from '../../operations/index.ts';
import type { CliContext } from '../context.ts';
import { databaseOption, otherCopies } from '../open.ts';
import { facts } from '../output/table.ts';
import { type OptionValues, textOption, type Verb } from '../verb.ts';

/** https://nagios-plugins.org/doc/guidelines.html */
const exits: Readonly<Record<Severity, number>> = { ok: 0, warning: 1, critical: 2, unknown: 3 };

export const healthVerb: Verb = {
  name: 'health',
  summary: 'check that the backups are fresh, plausible, stored and proven, for cron and Nagios',
  details: [
    'Of every database, or of one. The first line says all; what follows it are the single checks. The objectives are those of `health`',
    'in helvino.yaml: the newest backup of each kind at most 36 hours old, at least 1 MiB, not far from the trend, and in every copy.',
  ],
  options: [
    { flags: '-d, --database <name>', description: 'only this database (default: all)' },
    {
      flags: '--max-age <duration>',
      description: 'how old the newest backup may be, instead of health.maxAge',
    },
    { flags: '--min-size <size>', description: 'what a backup must take, instead of health.minSize' },
    { flags: '--no-server', description: 'do not ask the server how far it is ahead of stored WAL' },
  ],
  examples: [
    'helvino health',
    'helvino health --max-age 26h --json',
    'helvino health --quiet || mail -s "backups" ops',
  ],
  exits: [
    { status: 1, meaning: 'warning' },
    { status: 2, meaning: 'critical' },
    { status: 3, meaning: 'unknown: something could not be looked at' },
  ],
  async run(context, options) {
    const reports = await reportsOf(context, options);
    const state = worst(reports.map((report) => report.state));
    return {
      data: { state, databases: reports },
      text: [
        headline(state, reports),
        ...reports.flatMap((report) => checkLines(report, reports.length > 1)),
      ],
      exit: exits[state],
    };
  },
};

export const statusVerb: Verb = {
  name: 'status',
  summary:
    'say in one screen whether the database is safe, to when it could be brought back, and how long that takes',
  options: [databaseOption, { flags: '--no-server', description: 'do not ask the server' }],
  examples: ['helvino status'],
  async run(context, options) {
    // A monitor is told that it is unknown (health); a person, what to do.
    await context.config();
    const reports = await reportsOf(context, options);
    return {
      data: { databases: reports },
      text: reports.flatMap((report) => [...statusText(report), '']).slice(0, -1),
    };
  },
};

async function reportsOf(context: CliContext, options: OptionValues): Promise<HealthReport[]> {
  const named = textOption(options, 'database');
  let loaded: LoadedConfig;
  try {
    loaded = await context.config();
  } catch (thrown) {
    return [unknownHealth(named ?? 'helvino', thrown, context.clock.now())];
  }
  const names = named === undefined ? Object.keys(loaded.config.databases) : [named];
  if (names.length === 0) chooseDatabase(loaded, undefined);
  const reports: HealthReport[] = [];
  for (const name of names) {
    context.progress.phase(`looking at the backups of ${name}`);
    reports.push(
      await reportOf(context, options, { loaded, name }).catch((thrown: unknown) =>
        unknownHealth(name, thrown, context.clock.now()),
      ),
    );
  }
  return reports;
}

async function reportOf(
  context: CliContext,
  options: OptionValues,
  { loaded, name }: { loaded: LoadedConfig; name: string },
): Promise<HealthReport> {
  const chosen = chooseDatabase(loaded, name);
  const surroundings = surroundingsOf(loaded, context.env);
  const maxAge = textOption(options, 'maxAge');
  const minSize = textOption(options, 'minSize');
  const { database } = chosen;
  const given = {
    ...(maxAge === undefined ? {} : { maxAge: parseDuration(maxAge) }),
    ...(minSize === undefined ? {} : { minSize: parseSize(minSize) }),
  };
  const kinds = Object.fromEntries(
    Object.entries(database.health.kinds).map(([kind, own]) => [kind, { ...own, ...given }]),
  );
  return health({
    repository: await openConfigured(chosen.repository, surroundings),
    database: name,
    loaded,
    settings: { ...database, health: { ...database.health, ...given, kinds } },
    connection: options.server === false ? undefined : await connectionOf(database, surroundings),
    clock: context.clock,
    env: context.env,
    copies: otherCopies(context, { ...chosen, loaded }),
  });
}

/** What is wrong, or how things are; after the bar what monitoring draws. */
function headline(state: Severity, reports: readonly HealthReport[]): string {
  const says = reports.map(({ database, checks, kinds }) => {
    const bad = checks.filter((check) => check.state !== 'ok');
    const worstFirst = [...bad].sort((a, b) => exitRank(b.state) - exitRank(a.state));
    const words =
      bad.length > 0
        ? worstFirst.map(({ name, detail }) => `${name}: ${detail}`)
        : kinds.map(
            ({ kind, ageSeconds, bytes }) =>
              `${kind} backup ${formatAge(ageSeconds)} old, ${formatBytes(bytes)}`,
          );
    return `${database}: ${words.join('; ')}`;
  });
  const measures = reports.flatMap(({ database, kinds, lag }) => {
    const prefix = reports.length > 1 ? `${database}_` : '';
    return [
      ...kinds.flatMap(({ kind, ageSeconds, maxAgeSeconds, bytes }) => [
        `'${prefix}${kind}_age'=${ageSeconds}s;;${Math.round(maxAgeSeconds)}`,
        `'${prefix}${kind}_size'=${bytes}B`,
      ]),
      ...(lag?.seconds === undefined ? [] : [`'${prefix}wal_lag'=${Math.round(lag.seconds)}s`]),
    ];
  });
  const line = `HELVINO ${state.toUpperCase()} - ${says.join(', ').replaceAll('|', '/')}`;
  return measures.length > 0 ? `${line} | ${measures.join(' ')}` : line;
}

function exitRank(state: Severity): number {
  return ['ok', 'unknown', 'warning', 'critical'].indexOf(state);
}

function checkLines({ database, checks }: HealthReport, several: boolean): string[] {
  return checks.map(({ name, state, detail }) =>
    `${state.padEnd(8)}  ${several ? `${database}: ` : ''}${name}: ${detail}`.replaceAll('|', '/'),
  );
}

const verdicts: Readonly<Record<Severity, string>> = {
  ok: 'SAFE',
  warning: 'AT RISK',
  critical: 'NOT SAFE',
  unknown: 'UNKNOWN',
};

function statusText(report: HealthReport): string[] {
  const { database, state, checks, kinds, recoverable, restore, lag, safeUntil } = report;
  const detailOf = (name: string) => checks.find((check) => check.name === name)?.detail;
  const now = Date.parse(report.now);
  const ago = (time: string) => formatAge((now - Date.parse(time)) / 1000);
  const lines = facts([
    ['back to', recoverable ? backTo(recoverable, ago) : 'nowhere: there is no good backup'],
    ...kinds.map(({ kind, newest, ageSeconds, bytes }): [string, string] => [
      `newest ${kind}`,
      `${newest}, ${formatAge(ageSeconds)} old, ${formatBytes(bytes)}`,
    ]),
    [
      'restore takes',
      restore
        ? `about ${formatDuration(restore.seconds)} (${restore.basis}${errorWords(restore)})`
        : 'unknown: no drill has measured it',
    ],
    ...checks
      .filter(({ name }) => name.endsWith(' drill'))
      .map(({ name, detail }): [string, string] => [`${name.split(' ')[0]} proof`, detail]),
    ['verified', detailOf('verification')],
    ['WAL', lag ? detailOf('WAL lag') : walWords(report)],
    ...checks
      .filter(({ name }) => name.startsWith('copy '))
      .map(({ name, detail }): [string, string] => [name, detail]),
    [
      'safe until',
      state === 'ok' && safeUntil ? `${formatTime(new Date(safeUntil.at))}: ${safeUntil.why}` : undefined,
    ],
  ]);
  const attention = checks
    .filter((check) => check.state !== 'ok')
    .map((check) => `  ${check.state}: ${check.name}: ${check.detail}`);
  return [`${verdicts[state]}  ${database}`, ...lines.map((line) => `  ${line}`), ...attention];
}

function walWords({ recoverable }: HealthReport): string | undefined {
  return recoverable?.how === 'backups'
    ? 'not stored: what was written after the newest backup would be lost'
    : undefined;
}

function errorWords({ errorPercent, rangeSeconds }: NonNullable<HealthReport['restore']>): string {
  if (errorPercent === undefined || !rangeSeconds) return '; not compared with another drill yet';
  const [least, most] = rangeSeconds.map(formatDuration);
  return `; ${least} to ${most}, as predictions were off by up to ${errorPercent} %`;
}

function backTo(
  { from, to, how }: NonNullable<HealthReport['recoverable']>,
  ago: (time: string) => string,
): string {
  const [first, last] = [formatTime(new Date(from)), formatTime(new Date(to))];
  if (how === 'any moment') return `any moment from ${first} to ${last} (${ago(to)} ago)`;
  return from === to
    ? `${last} (${ago(to)} ago)`
    : `the end of each backup, from ${first} to ${last} (${ago(to)} ago)`;
}
