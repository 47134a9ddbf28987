/** The results as text: ratios against the targets first, then every number. */
import type { Comparison } from './comparison.ts';
import type { Sample } from './contenders.ts';
import type { Incremental } from './incremental.ts';
import type { SmallTables } from './small-tables.ts';
import { median } from './tools.ts';

export interface Facts {
  readonly command: string;
  readonly date: string;
  readonly machine: readonly string[];
  readonly rounds: number;
}

export interface Results {
  readonly comparison?: Comparison;
  readonly incremental?: Incremental;
  readonly small?: SmallTables;
}

interface Line {
  readonly what: string;
  readonly value: number;
  readonly limit: number;
  /** With unit. */
  readonly show: (value: number) => string;
}

/** 400 MB, in MiB. */
const peakLimit = 400e6 / 1024 ** 2;

export function ratioTable(results: Results): string {
  const lines = [
    ...comparisonLines(results.comparison),
    ...incrementalLines(results.incremental),
    ...peakLines(results),
  ];
  return table(
    ['', 'measured', 'target', ''],
    lines.map(({ what, value, limit, show }) => [
      what,
      show(value),
      `≤ ${show(limit)}`,
      value <= limit ? 'met' : '**missed**',
    ]),
  );
}

const ratio = (value: number) => value.toFixed(2);
const mebibytes = (value: number) => `${value.toFixed(0)} MiB`;

function comparisonLines(comparison: Comparison | undefined): Line[] {
  if (!comparison) return [];
  const backup = (name: string) => middle(comparison.backups.get(name)!);
  const restore = (name: string) => middle(comparison.restores.get(name)!);
  const ours = [...comparison.restores.keys()].filter((name) => name.startsWith('helvino'));
  return ours.flatMap((name) => [
    {
      what: `full backup, ${name} : pgBackRest`,
      value: backup(name) / backup('pgBackRest'),
      limit: 0.5,
      show: ratio,
    },
    {
      what: `full backup, ${name} : pg_basebackup`,
      value: backup(name) / backup('pg_basebackup'),
      limit: 1.3,
      show: ratio,
    },
    {
      what: `restore, ${name} : pgBackRest`,
      value: restore(name) / restore('pgBackRest'),
      limit: 0.7,
      show: ratio,
    },
  ]);
}

function incrementalLines(incremental: Incremental | undefined): Line[] {
  if (!incremental) return [];
  const { rounds } = incremental;
  const time = median(rounds.map((r) => r.incremental.seconds / r.full.seconds));
  const bytes = median(rounds.map((r) => r.incremental.stored! / r.changedBytes));
  return [
    { what: 'incremental : full, wall time', value: time, limit: 0.2, show: ratio },
    { what: 'incremental, stored : changed pages compressed alone', value: bytes, limit: 1.5, show: ratio },
  ];
}

function peakLines({ comparison, incremental, small }: Results): Line[] {
  const peak = (what: string, samples: readonly { readonly peakMiB?: number }[]): Line[] => {
    const values = samples.flatMap((s) => (s.peakMiB === undefined ? [] : [s.peakMiB]));
    if (values.length === 0) return [];
    return [{ what: `peak memory, ${what}`, value: Math.max(...values), limit: peakLimit, show: mebibytes }];
  };
  const files = small ? `${small.tables.toLocaleString('en')} tables` : '';
  return [
    ...peak('full backup', [...(comparison?.backups.values() ?? [])].flat()),
    ...peak('restore', [...(comparison?.restores.values() ?? [])].flat()),
    ...peak('incremental backup', incremental?.rounds.map((r) => r.incremental) ?? []),
    ...peak(`backup of ${files}`, small ? [small.backup] : []),
    ...peak(`restore of ${files}`, small ? [small.restore] : []),
    ...peak(
      `backup of ${files} as on ${small?.wide.processors} processors`,
      small ? [small.wide.backup] : [],
    ),
    ...peak(
      `restore of ${files} as on ${small?.wide.processors} processors`,
      small ? [small.wide.restore] : [],
    ),
  ];
}

export function report(facts: Facts, results: Results): string {
  const { comparison, incremental, small } = results;
  return [
    '# Benchmark results',
    'Made by the bench itself; `bench/README.md` says what it does. All numbers of the run are here, also those that miss.',
    [
      `- Command: \`${facts.command}\``,
      `- Date: ${facts.date}`,
      ...facts.machine.map((line) => `- ${line}`),
    ].join('\n'),
    '## Ratios against the targets',
    `Ratios of medians of ${facts.rounds} rounds; of the incremental backup, medians of ratios. Peaks are the largest seen.`,
    ratioTable(results),
    ...(comparison ? comparisonPart(comparison) : []),
    ...(incremental ? incrementalPart(incremental) : []),
    ...(small ? smallPart(small) : []),
    '',
  ].join('\n\n');
}

function comparisonPart({ bytes, backups, restores }: Comparison): string[] {
  return [
    `## Full backup and restore, PostgreSQL 15, ${gigabytes(bytes)}`,
    'Seconds of wall time of the whole process. The contenders take turns, each round begins with another. Warm cache for all. ' +
      'CPU: processor time of the program and its children (median), the server left out, which other work on the machine hardly changes.',
    sampleTable('backup', backups),
    sampleTable('restore', restores),
  ];
}

function sampleTable(what: string, samples: ReadonlyMap<string, readonly Sample[]>): string {
  const rows = [...samples].map(([name, all]) => [
    name,
    seconds(middle(all)),
    `${seconds(Math.min(...all.map((s) => s.seconds)))} – ${seconds(Math.max(...all.map((s) => s.seconds)))}`,
    all.map((s) => seconds(s.seconds)).join(', '),
    all[0]?.stored === undefined ? '' : gigabytes(all[0].stored),
    all[0]?.cpu === undefined ? '' : seconds(median(all.map((s) => s.cpu!))),
    all[0]?.peakMiB === undefined ? '' : all.map((s) => s.peakMiB!.toFixed(0)).join(', '),
  ]);
  return table([what, 'median', 'spread', 'rounds', 'stored', 'CPU s', 'peak MiB'], rows);
}

function incrementalPart({ version, bytes, rounds }: Incremental): string[] {
  return [
    `## Incremental backup after 1 % of the heap pages changed, PostgreSQL ${version} with summarize_wal, ${gigabytes(bytes)}`,
    'A row was updated on every hundredth page of messages and pgbench_accounts (fillfactor 90). Which pages changed in all is ' +
      "what the server's WAL summaries say; compressed alone: each of these pages by itself with zstd 3.",
    table(
      [
        'round',
        'full s',
        'incremental s',
        'transfer',
        'changed pages',
        'compressed alone',
        'stored',
        'peak MiB',
      ],
      rounds.map((r, i) => [
        String(i + 1),
        seconds(r.full.seconds),
        r.incremental.seconds.toFixed(2),
        r.transfer,
        String(r.changedPages),
        `${(r.changedBytes / 1e6).toFixed(2)} MB`,
        `${(r.incremental.stored! / 1e6).toFixed(2)} MB`,
        r.incremental.peakMiB!.toFixed(0),
      ]),
    ),
  ];
}

function smallPart({ tables, files, bytes, backup, restore, wide }: SmallTables): string[] {
  return [
    `## ${tables.toLocaleString('en')} small tables`,
    `${files} files, ${gigabytes(bytes)}.`,
    table(
      ['', 'seconds', 'peak MiB'],
      [
        ['backup', seconds(backup.seconds), backup.peakMiB.toFixed(0)],
        ['restore', seconds(restore.seconds), restore.peakMiB.toFixed(0)],
        ...(['backup', 'restore'] as const).map((what) => [
          `${what}, threads as on ${wide.processors} processors`,
          seconds(wide[what].seconds),
          wide[what].peakMiB.toFixed(0),
        ]),
      ],
    ),
  ];
}

function middle(samples: readonly Sample[]): number {
  return median(samples.map((s) => s.seconds));
}

const seconds = (value: number) => value.toFixed(1);
const gigabytes = (value: number) => `${(value / 1e9).toFixed(2)} GB`;

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
