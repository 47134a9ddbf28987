/**
 * The bench: Helvino beside pgBackRest and pg_basebackup, in one run. See README.md. Everything it makes is below one
 * folder, which is removed at the end, however it ends.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus, getPriority, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { debianBin, ownFolder, postgresAccount } from './cluster.ts';
import { compare, type PartOptions } from './comparison.ts';
import { incremental } from './incremental.ts';
import { type Facts, type Results, ratioTable, report } from './report.ts';
import { smallTables } from './small-tables.ts';
import { has, run, say, stopAll } from './tools.ts';

const usage = `node bench/run.ts [options], as root
  --dir DIR       where to work (default /var/tmp); needs about 6 times the database's size
  --rounds N      rounds of the comparison (default 3)
  --scale X       1 is a little over 3 GB (default)
  --tables N      small tables of the memory test (default 100000)
  --only PARTS    of comparison,incremental,tables
  --quick         scale 0.05, 1 round, 2000 tables; prints, and keeps nothing
  --out FILE      where the results go (default bench/RESULTS.md)`;

const options = {
  dir: { type: 'string', default: '/var/tmp' },
  rounds: { type: 'string' },
  scale: { type: 'string' },
  tables: { type: 'string' },
  only: { type: 'string', default: 'comparison,incremental,tables' },
  quick: { type: 'boolean', default: false },
  out: { type: 'string' },
  help: { type: 'boolean', default: false },
} as const;

/** What must be there, with the Debian package that has it. */
async function missing(): Promise<string[]> {
  const needed = [
    [`${debianBin}/pg_basebackup`, 'postgresql-15'],
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

async function main(): Promise<void> {
  const { values } = parseArgs({ options });
  if (values.help) return console.log(usage);
  if (process.getuid?.() !== 0)
    throw new Error('run as root: servers and pgBackRest run as the user postgres');
  const packages = await missing();
  if (packages.length > 0) throw new Error(`missing; run: apt-get install ${packages.join(' ')}`);
  const scale = Number(values.scale ?? (values.quick ? 0.05 : 1));
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
  const tables = Number(values.tables ?? (values.quick ? 2000 : 100_000));
  const account = await postgresAccount();
  const home = await ownFolder(await mkdtemp(join(values.dir, 'helvino-bench-')), account);
  // Servers of the second part, and scratch files of Helvino, go where all else is.
  process.env.TMPDIR = home;
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => stopAll(`stopped by ${signal}`));
  try {
    const before = loadavg()[0]!.toFixed(2);
    const facts = await machine(values.dir);
    const results = await parts(values.only.split(','), { home, account, scale, rounds }, tables);
    const load = `Load average before the run: ${before}, after it (own work included): ${loadavg()[2]!.toFixed(2)} over 15 minutes; niceness of all contenders and servers: ${getPriority()} (other work on the machine makes all numbers worse and less even)`;
    const command = ['npm run bench --', ...process.argv.slice(2)].join(' ').replace(/ --$/, '');
    const about: Facts = {
      command,
      date: new Date().toISOString().slice(0, 16),
      machine: [...facts, load],
      rounds,
    };
    const out =
      values.out ?? (values.quick ? undefined : fileURLToPath(new URL('./RESULTS.md', import.meta.url)));
    const text = report(about, results);
    if (out === undefined) return console.log(text);
    await writeFile(out, text);
    console.log(ratioTable(results));
    say(`results are in ${out}`);
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

await main().catch((thrown: unknown) => {
  console.error(thrown instanceof Error ? thrown.message : thrown);
  process.exitCode = 1;
});
