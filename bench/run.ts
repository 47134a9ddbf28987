/**
 * The bench: Helvino beside pgBackRest and pg_basebackup, in one run. See README.md. Everything it makes is below one
 * folder, which is removed at the end, however it ends.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { availableParallelism, cpus, getPriority, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { debianBin, ownFolder, postgresAccount } from './cluster.ts';
import { compare, type PartOptions } from './comparison.ts';
import { incremental } from './incremental.ts';
import { type Facts, type Results, ratioTable, report } from './report.ts';
import { rescueBench, rescueReport } from './rescue.ts';
import { s3Bench, s3Report } from './s3.ts';
import { writeMain, writeSection } from './sections.ts';
import { smallTables } from './small-tables.ts';
import { has, run, say, stopAll } from './tools.ts';
import { walBench } from './wal.ts';
import { walReport } from './wal-report.ts';
import type { WalOptions } from './wal-tools.ts';

const usage = `node bench/run.ts [memory|wal|s3|rescue] [options], as root
  memory          full backup and restore with all in /dev/shm (10 GB): what the programs cost, whatever the disk takes
  rescue          one organization's million rows back into ten million: --rounds, --scale (default 1)
  s3              backup to and restore from S3 beside the local disk: --rounds, --scale as below (default 0.5)
  wal             intake, lag, replay and search of WAL instead: --only of intake,lag,replay,find; --rounds, --scale of pgbench (default 20),
                  --wal-mb N for intake and replay (default 1500), --find-mb N to search (default 10000), --seconds N of a turn of load (default 10)
  --dir DIR       where to work (default /var/tmp, of memory /dev/shm); needs about 6 times the database's size
  --rounds N      rounds of the comparison (default 3)
  --scale X       1 is a little over 3 GB (default)
  --tables N      small tables of the memory test (default 100000)
  --only PARTS    of comparison,incremental,tables
  --quick         scale 0.05, 1 round, 2000 tables; prints, and keeps nothing
  --out FILE      where the results go (default bench/RESULTS.md)`;

const options = {
  dir: { type: 'string' },
  rounds: { type: 'string' },
  scale: { type: 'string' },
  tables: { type: 'string' },
  only: { type: 'string' },
  'wal-mb': { type: 'string' },
  'find-mb': { type: 'string' },
  seconds: { type: 'string' },
  quick: { type: 'boolean', default: false },
  out: { type: 'string' },
  help: { type: 'boolean', default: false },
} as const;

/** What must be there, with the Debian package that has it. */
async function missing(): Promise<string[]> {
  const needed = [
    [`${debianBin}/pg_basebackup`, 'postgresql-15'],
    [`${debianBin}/pgbench`, 'postgresql-15'],
    ['pgbackrest', 'pgbackrest'],
    ['runuser', 'util-linux'],
  ] as const;
  const packages: string[] = [];
  for (const [program, name] of needed) if (!(await has(program))) packages.push(name);
  return packages;
}

async function machine(dir: string): Promise<string[]> {
  const line = async (program: string, args: readonly string[]) =>
    (await run(program, args)).output.trim().split('\n').at(-1)!;
  const system = /PRETTY_NAME="(.+)"/.exec(await readFile('/etc/os-release', 'utf8'))?.[1];
  const git = await run('git', ['-C', import.meta.dirname, 'rev-parse', '--short', 'HEAD']).catch(
    () => undefined,
  );
  return [
    `Machine: ${availableParallelism()} × ${cpus()[0]?.model}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB memory, ${await line('df', ['--output=source,fstype', dir])}`,
    `System: ${system}, Linux ${release()}, Node ${process.version}`,
    `Versions: ${await line('pgbackrest', ['version'])}; ${await line(`${debianBin}/pg_basebackup`, ['--version'])}; Helvino ${git?.output.trim() ?? 'without git'}`,
    'Settings: pgBackRest zstd 3, process-max 2, bundles, no archiving; pg_basebackup -Ft, client-zstd:3, WAL streamed; ' +
      'Helvino with encryption, fingerprint off; data checksums on, fsync on, unix socket',
  ];
}

async function parts(only: readonly string[], part: PartOptions, tables: number): Promise<Results> {
  return {
    comparison: only.includes('comparison') ? await compare(part) : undefined,
    incremental: only.includes('incremental') ? await incremental(part) : undefined,
    small: only.includes('tables') ? await smallTables(part, tables) : undefined,
  };
}

type Values = Readonly<
  Record<Exclude<keyof typeof options, 'quick' | 'help' | 'dir'>, string | undefined>
> & {
  readonly dir: string;
  readonly quick: boolean;
};

async function main(): Promise<void> {
  const { values: given, positionals } = parseArgs({ options, allowPositionals: true });
  if (given.help) return console.log(usage);
  if (positionals.some((word) => !['memory', 'wal', 's3', 'rescue'].includes(word))) throw new Error(usage);
  if (process.getuid?.() !== 0)
    throw new Error('run as root: servers and pgBackRest run as the user postgres');
  const packages = await missing();
  if (packages.length > 0) throw new Error(`missing; run: apt-get install ${packages.join(' ')}`);
  const inMemory = positionals.includes('memory');
  const values = { ...given, dir: given.dir ?? (inMemory ? '/dev/shm' : '/var/tmp') } as Values;
  const account = await postgresAccount();
  const home = await ownFolder(await mkdtemp(join(values.dir, 'helvino-bench-')), account);
  // Servers of the second part, and scratch files of Helvino, go where all else is.
  process.env.TMPDIR = home;
  // Compiled code is kept between runs, as by the launcher, `engine/bin/helvino.mjs`.
  process.env.NODE_COMPILE_CACHE = join(home, 'node-cache');
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => stopAll(`stopped by ${signal}`));
  try {
    if (positionals.includes('rescue')) await rescue(values, { home, account });
    else if (positionals.includes('s3')) await s3(values, { home, account });
    else if (positionals.includes('wal')) await wal(values, { home, account });
    else await backups(values, { home, account }, inMemory);
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

const command = ['npm run bench --', ...process.argv.slice(2)].join(' ').replace(/ --$/, '');

function outOf({ out, quick }: Values): string | undefined {
  return out ?? (quick ? undefined : fileURLToPath(new URL('./RESULTS.md', import.meta.url)));
}

function loadLine(before: string): string {
  return `Load average before the run: ${before}, after it (own work included): ${loadavg()[2]!.toFixed(2)} over 15 minutes; niceness of all contenders and servers: ${getPriority()} (other work on the machine makes all numbers worse and less even)`;
}

async function backups(
  values: Values,
  where: Pick<PartOptions, 'home' | 'account'>,
  inMemory: boolean,
): Promise<void> {
  const scale = Number(values.scale ?? (values.quick ? 0.05 : 1));
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
  const tables = Number(values.tables ?? (values.quick ? 2000 : 100_000));
  const before = loadavg()[0]!.toFixed(2);
  const facts = await machine(values.dir);
  const only = (values.only ?? (inMemory ? 'comparison' : 'comparison,incremental,tables')).split(',');
  const results = await parts(only, { ...where, scale, rounds }, tables);
  const about: Facts = {
    command,
    date: new Date().toISOString().slice(0, 16),
    machine: [...facts, loadLine(before)],
    rounds,
  };
  const out = outOf(values);
  const text = report(about, results);
  if (out === undefined) return console.log(text);
  if (inMemory)
    await writeSection(out, 'memory', text.replace(/^# .*$/m, '# The same in memory, without a disk'));
  else await writeMain(out, text);
  console.log(ratioTable(results));
  say(`results are in ${out}`);
}

function walOptions(values: Values, where: Pick<PartOptions, 'home' | 'account'>): WalOptions {
  return {
    ...where,
    rounds: Number(values.rounds ?? (values.quick ? 1 : 3)),
    scale: Number(values.scale ?? (values.quick ? 5 : 20)),
    findBytes: Number(values['find-mb'] ?? (values.quick ? 200 : 10_000)) * 1e6,
    bytes: Number(values['wal-mb'] ?? (values.quick ? 200 : 1500)) * 1e6,
    seconds: Number(values.seconds ?? (values.quick ? 5 : 10)),
    warmSeconds: values.quick ? 2 : 40,
  };
}

async function wal(values: Values, where: Pick<PartOptions, 'home' | 'account'>): Promise<void> {
  const before = loadavg()[0]!.toFixed(2);
  const results = await walBench(
    walOptions(values, where),
    (values.only ?? 'intake,lag,replay,find').split(','),
  );
  await section(values, 'wal', walReport(await factLines(values, before), results));
}

async function s3(values: Values, where: Pick<PartOptions, 'home' | 'account'>): Promise<void> {
  const before = loadavg()[0]!.toFixed(2);
  const results = await s3Bench({
    ...walOptions(values, where),
    scale: Number(values.scale ?? (values.quick ? 0.05 : 0.5)),
  });
  await section(values, 's3', s3Report(await factLines(values, before), results));
}

async function rescue(values: Values, where: Pick<PartOptions, 'home' | 'account'>): Promise<void> {
  const before = loadavg()[0]!.toFixed(2);
  const scale = Number(values.scale ?? (values.quick ? 0.02 : 1));
  const results = await rescueBench({ ...walOptions(values, where), scale });
  await section(values, 'rescue', rescueReport(await factLines(values, before), results));
}

async function factLines(values: Values, before: string): Promise<string[]> {
  const [machineLine, system, versions] = await machine(values.dir);
  const date = `Date: ${new Date().toISOString().slice(0, 16)}`;
  return [`Command: \`${command}\``, date, machineLine!, system!, versions!, loadLine(before)];
}

async function section(values: Values, name: string, text: string): Promise<void> {
  const out = outOf(values);
  if (out !== undefined) await writeSection(out, name, text);
  console.log(text);
}

await main().catch((thrown: unknown) => {
  console.error(thrown instanceof Error ? thrown.message : thrown);
  process.exitCode = 1;
});
