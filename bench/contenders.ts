/** Full backups and restores by the three programs, each as a process whose wall time is taken from start to exit. */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from '../engine/scripts/build.ts';
import { type Account, type Cluster, debianBin, ownFolder } from './cluster.ts';
import type { ChildJob, ChildResult } from './helvino-child.ts';
import { measure, run } from './tools.ts';

export interface Sample {
  readonly seconds: number;
  /** Bytes on disk of the backup; for Helvino what this run added. */
  readonly stored?: number;
  readonly peakMiB?: number;
  readonly cpu?: number;
}

export interface Contender {
  readonly name: string;
  /** Each backup is a first one: what an earlier one left is removed before the clock runs. */
  backup(): Promise<Sample>;
  /**
   * Restores the newest backup into a new folder, which is removed afterwards. `check` is for what can be started: without
   * an archive pgBackRest's backup has no WAL.
   */
  restore?(check: (dataDir: string) => Promise<void>): Promise<Sample>;
}

/** As an installed package has it: put together, once for a run, and its compiled code kept as the launcher keeps it (engine/bin). */
let built: Promise<string> | undefined;

async function child(): Promise<string> {
  const folder = fileURLToPath(new URL('./.built/', import.meta.url));
  const source = fileURLToPath(new URL('./helvino-child.ts', import.meta.url));
  process.env.NODE_COMPILE_CACHE ??= join(folder, 'compiled');
  built ??= build([source], folder).then(() => join(folder, 'helvino-child.js'));
  return built;
}

/** Before the clock runs, as the stanza of pgBackRest. */
export async function newRepository(root: string): Promise<void> {
  for (const end of ['', '.ring', '.identity', '.recipient'])
    await rm(root + end, { recursive: true, force: true });
  await run(process.execPath, [await child(), JSON.stringify({ action: 'create', root } satisfies ChildJob)]);
  await run('sync', []);
}

export async function helvino(
  job: ChildJob & { readonly action: 'backup' | 'restore' },
): Promise<ChildResult & { readonly seconds: number; readonly cpu: number }> {
  const { seconds, cpu, output } = await measure(process.execPath, [await child(), JSON.stringify(job)]);
  return { seconds, cpu, ...(JSON.parse(output.trim().split('\n').at(-1)!) as ChildResult) };
}

/** After a disaster nothing of a repository is in the page cache; right after a backup some programs have all of it there. */
async function cool(folder: string): Promise<void> {
  await run('sync', []);
  await run('find', [
    folder,
    '-type',
    'f',
    '-exec',
    'dd',
    'if={}',
    'iflag=nocache',
    'count=0',
    'status=none',
    ';',
  ]);
}

export function helvinoAt(
  level: number,
  { cluster, home }: { cluster: Cluster; home: string },
  read: 'replication' | 'files' = 'replication',
): Contender {
  const root = join(home, `helvino${level}${read}`);
  const directory = `${root}-restored`;
  return {
    name: `helvino, level ${level}${read === 'files' ? ', reading files' : ''}`,
    async backup() {
      await newRepository(root);
      const { seconds, totals, peakMiB, cpu } = await helvino({
        action: 'backup',
        root,
        url: cluster.url,
        level,
        read,
      });
      return { seconds, stored: totals.stored, peakMiB, cpu };
    },
    async restore(check) {
      await cool(root);
      const { seconds, peakMiB, cpu } = await helvino({ action: 'restore', root, directory });
      await check(directory);
      await rm(directory, { recursive: true, force: true });
      return { seconds, peakMiB, cpu };
    },
  };
}

export function pgBackRest({
  cluster,
  home,
  account,
}: {
  cluster: Cluster;
  home: string;
  account: Account;
}): Contender {
  const repo = join(home, 'pgbackrest');
  const config = join(home, 'pgbackrest.conf');
  const directory = join(home, 'pgbackrest-restored');
  const command = (words: readonly string[]) =>
    measure('pgbackrest', [`--config=${config}`, '--stanza=bench', '--log-level-console=error', ...words], {
      as: 'postgres',
    });
  return {
    name: 'pgBackRest',
    async backup() {
      await rm(repo, { recursive: true, force: true });
      await ownFolder(repo, account);
      await writeFile(config, pgBackRestConfig(cluster, { repo, home }));
      await command(['--no-online', 'stanza-create']);
      await run('sync', []);
      const { seconds, cpu } = await command(['--type=full', '--no-archive-check', 'backup']);
      return { seconds, cpu, stored: await diskBytes(repo) };
    },
    async restore() {
      await ownFolder(directory, account);
      await cool(repo);
      const { seconds, cpu } = await command([`--pg1-path=${directory}`, 'restore']);
      await rm(directory, { recursive: true, force: true });
      return { seconds, cpu };
    },
  };
}

/** `more`: further lines of the global section. */
export function pgBackRestConfig(
  cluster: Cluster,
  { repo, home, more = [] }: { repo: string; home: string; more?: readonly string[] },
): string {
  return [
    '[global]',
    `repo1-path=${repo}`,
    'repo1-bundle=y',
    'repo1-retention-full=1',
    'process-max=2',
    'compress-type=zst',
    'compress-level=3',
    'start-fast=y',
    ...more,
    `log-path=${home}`,
    `lock-path=${home}`,
    '[bench]',
    `pg1-path=${cluster.dataDir}`,
    `pg1-port=${cluster.port}`,
    `pg1-socket-path=${cluster.socketDir}`,
    '',
  ].join('\n');
}

export function pgBasebackup({
  cluster,
  home,
  account,
}: {
  cluster: Cluster;
  home: string;
  account: Account;
}): Contender {
  const directory = join(home, 'pg_basebackup');
  return {
    name: 'pg_basebackup',
    async backup() {
      await rm(directory, { recursive: true, force: true });
      await ownFolder(directory, account);
      await run('sync', []);
      const where = ['-h', cluster.socketDir, '-p', String(cluster.port)];
      const how = ['-Ft', '--compress=client-zstd:3', '-X', 'stream', '-c', 'fast'];
      const { seconds, cpu } = await measure(
        join(debianBin, 'pg_basebackup'),
        [...where, '-D', directory, ...how],
        {
          as: 'postgres',
        },
      );
      const stored = await diskBytes(directory);
      await rm(directory, { recursive: true, force: true });
      return { seconds, cpu, stored };
    },
  };
}

async function diskBytes(path: string): Promise<number> {
  const { output } = await run('du', ['-sb', path]);
  return Number(output.split('\t')[0]);
}

/** A new empty folder for what a part of the bench makes. */
export async function freshFolder(path: string): Promise<string> {
  await rm(path, { recursive: true, force: true });
  await mkdir(path, { recursive: true });
  return path;
}
