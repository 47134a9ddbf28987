/** The section of RESULTS.md on WAL. */
import { availableParallelism } from 'node:os';
import { table } from './report.ts';
import { median } from './tools.ts';
import type { WalResults } from './wal.ts';
import type { Find } from './wal-find.ts';
import type { Lag, Lags, Turn } from './wal-lag.ts';
import type { Replay } from './wal-replay.ts';

export function walReport(
  facts: readonly string[],
  { intake, lag, newestLag, replay, find }: WalResults,
): string {
  const lines: string[][] = [];
  const parts: string[][] = [];
  if (intake) {
    const ratio = median(intake.helvino) / median(intake.pgReceivewal);
    lines.push(['sustained intake, helvino : pg_receivewal', ratio.toFixed(2), '≥ 1', verdict(ratio >= 1)]);
    parts.push([`intake of ${megabytes(intake.bytes)}, helvino, MB/s`, ...numbers(intake.helvino, 0)]);
    parts.push(['the same, pg_receivewal, MB/s', ...numbers(intake.pgReceivewal, 0)]);
  }
  if (lag) lagLines(lag, { lines, parts, server: 'PostgreSQL 15' });
  if (newestLag) lagLines(newestLag, { lines, parts, server: 'PostgreSQL 18' });
  if (replay) replayLines(replay, lines, parts);
  if (find) findLines(find, lines, parts);
  return [
    '# WAL: intake, lag, replay and search',
    facts.map((line) => `- ${line}`).join('\n'),
    'Helvino by its command line, with compression, encryption and reading back, the open segment in parts each second. Ratios are of medians.',
    table(['', 'measured', 'target', ''], lines),
    table(['', 'median', 'rounds'], parts),
  ].join('\n\n');
}

interface LagTables {
  readonly lines: string[][];
  readonly parts: string[][];
}

function lagLines(
  { together, apart }: Lags,
  { server, ...tables }: LagTables & { readonly server: string },
): void {
  const processors = availableParallelism();
  partLines(together, {
    ...tables,
    what: `at full pgbench load, ${server}`,
    // Of all processors, which server, pgbench and receiver share.
    share: ({ cpu, sender }) => (cpu + sender) / processors,
  });
  if (apart)
    partLines(apart, {
      ...tables,
      what: `at full load, ${server}, receiver on a processor and storage of its own`,
      // Of the one that server and pgbench have.
      share: ({ sender }) => sender,
    });
}

function partLines(
  { turns, seconds, rate }: Lag,
  { lines, parts, what, share }: LagTables & { readonly what: string; share(turn: Turn): number },
): void {
  const sorted = [...seconds].sort((a, b) => a - b);
  const at = (part: number) => sorted[Math.floor((sorted.length - 1) * part)]!.toFixed(2);
  lines.push([`lag ${what}, p50`, `${at(0.5)} s`, '', '']);
  lines.push([`lag ${what}, p99`, `${at(0.99)} s`, '', '']);
  for (const name of ['helvino', 'pg_receivewal'] as const) {
    const all = turns[name];
    if (all.length === 0) continue;
    const costs = all.map(({ tps, without }) => 100 * (1 - tps / without));
    const cost = median(costs);
    const about =
      name === 'helvino' ? `cost in transactions per second ${what}, helvino` : `the same, ${name}`;
    lines.push([
      about,
      `${cost.toFixed(1)} %`,
      ...(name === 'helvino' ? ['< 3 %', verdict(cost < 3)] : ['', '']),
    ]);
    const shares = all.map((turn) => 100 * share(turn));
    lines.push([
      'what receiver and sender take of the processors that pgbench could have',
      `${median(shares).toFixed(1)} %`,
      '',
      '',
    ]);
    parts.push([`cost ${what}, ${name}, %`, ...numbers(costs, 1)]);
    parts.push([`processor time that pgbench could have, ${name}, %`, ...numbers(shares, 1)]);
    parts.push([
      `pgbench ${what}, ${name}, tps`,
      ...numbers(
        all.map(({ tps }) => tps),
        0,
      ),
    ]);
    parts.push([
      'the same, without in the turns around',
      ...numbers(
        all.map(({ without }) => without),
        0,
      ),
    ]);
    parts.push([
      `processor time of ${name}, % of one`,
      ...numbers(
        all.map(({ cpu }) => 100 * cpu),
        1,
      ),
    ]);
  }
  parts.push([`lag ${what}: ${seconds.length} samples at ${megabytes(rate)}/s of WAL`, '', '']);
}

function replayLines({ bytes, helvino, pgBackRest }: Replay, lines: string[][], parts: string[][]): void {
  const all = (from: Replay['helvino']) => from.map(({ restore, recover }) => restore + recover);
  const ratio = median(all(pgBackRest)) / median(all(helvino));
  lines.push(['restore and replay, pgBackRest : helvino', ratio.toFixed(2), '≥ 1.5', verdict(ratio >= 1.5)]);
  for (const [name, from] of [
    ['helvino', helvino],
    ['pgBackRest', pgBackRest],
  ] as const) {
    parts.push([`replay of ${megabytes(bytes)}, ${name}, s`, ...numbers(all(from), 1)]);
    parts.push([
      `of that the restore, ${name}, s`,
      ...numbers(
        from.map((part) => part.restore),
        1,
      ),
    ]);
  }
}

function findLines(
  { bytes, transactions, index, byIndex, byWal }: Find,
  lines: string[][],
  parts: string[][],
): void {
  const rate = (runs: Find['byIndex'], of: 'seconds' | 'cpu') =>
    bytes / 1e6 / median(runs.map((run) => run[of]));
  const indexed = rate(byIndex, 'cpu');
  const read = rate(byWal, 'cpu');
  lines.push([
    'find by index, MB of WAL a second of CPU',
    indexed.toFixed(0),
    '≥ 300',
    verdict(indexed >= 300),
  ]);
  lines.push([
    'find in the WAL itself (encrypted, compressed), the same',
    read.toFixed(0),
    '≥ 300',
    verdict(read >= 300),
  ]);
  for (const [name, runs] of [
    ['by index', byIndex],
    ['in the WAL itself', byWal],
  ] as const)
    parts.push([
      `find in ${megabytes(bytes)} ${name}, s`,
      ...numbers(
        runs.map((run) => run.seconds),
        1,
      ),
    ]);
  parts.push([`${transactions} transactions; the index has ${megabytes(index)}`, '', '']);
}

function numbers(values: readonly number[], digits: number): [string, string] {
  return [median(values).toFixed(digits), values.map((value) => value.toFixed(digits)).join(', ')];
}

const verdict = (met: boolean) => (met ? 'met' : '**missed**');
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
