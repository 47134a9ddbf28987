/**
 * Checks the checksum of every page of a data directory whose server was shut down cleanly, in worker threads.
 * https://www.postgresql.org/docs/current/checksums.html, https://www.postgresql.org/docs/current/storage-file-layout.html
 */
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { Worker } from 'node:worker_threads';
import { HelvinoError, systemCode } from '../base/errors.ts';
import type { Progress } from '../base/progress.ts';
import { endWorker } from '../base/workers.ts';
import { readControlFile } from './control-file.ts';
import type { BadPage } from './page-checksum.ts';

export interface ChecksumJob {
  readonly path: string;
  /** Of the file's first page, counted through the segments of the relation. */
  readonly firstBlock: number;
}

export type ChecksumResult =
  | { readonly path: string; readonly pages: number; readonly bad: readonly BadPage[] }
  | { readonly path: string; readonly error: string };

interface DirectoryChecksums {
  readonly files: number;
  readonly pages: number;
  /** Paths relative to the data directory. */
  readonly bad: readonly (BadPage & { readonly path: string })[];
}

interface ChecksumOptions {
  readonly progress?: Progress;
  readonly signal?: AbortSignal;
  readonly workers?: number;
}

const pageSize = 8192;
/** Relation files: number, fork, segment. Temporary relations (t3_16384) are not in backups. */
const relationFile = /^\d+(_(fsm|vm|init))?(\.(\d+))?$/;
const databaseFolder = /^\d+$/;

/** Throws TARGET_IO for what cannot be read: a file that was not looked at is no good file. */
export async function verifyDirectoryChecksums(
  dataDir: string,
  { progress, signal, workers = 2 }: ChecksumOptions = {},
): Promise<DirectoryChecksums> {
  const jobs = await relationFiles(dataDir);
  progress?.phase('page checksums', jobs.length, 'items');
  const totals = { files: 0, pages: 0, bad: [] as (BadPage & { path: string })[] };
  const take = (result: ChecksumResult) => {
    signal?.throwIfAborted();
    if ('error' in result) throw unreadable(result.path, result.error);
    totals.files++;
    totals.pages += result.pages;
    for (const page of result.bad) totals.bad.push({ ...page, path: relative(dataDir, result.path) });
    progress?.advance(1);
  };
  const next = jobs.values();
  await Promise.all(Array.from({ length: Math.min(workers, jobs.length) }, () => runWorker(next, take)));
  return totals;
}

async function runWorker(jobs: Iterator<ChecksumJob>, take: (result: ChecksumResult) => void): Promise<void> {
  const worker = new Worker(new URL('./checksum-worker.ts', import.meta.url));
  try {
    await new Promise<void>((resolve, reject) => {
      const give = () => {
        const { value, done } = jobs.next();
        if (done) resolve();
        else worker.postMessage(value);
      };
      worker.on('error', reject);
      worker.on('message', (result: ChecksumResult) => {
        try {
          take(result);
          give();
        } catch (thrown) {
          reject(thrown);
        }
      });
      give();
    });
  } finally {
    await endWorker(worker);
  }
}

async function relationFiles(dataDir: string): Promise<ChecksumJob[]> {
  const control = readControlFile(await read(join(dataDir, 'global/pg_control')));
  if (control.pageSize !== pageSize) {
    throw new HelvinoError('SERVER_SETTING', `the cluster has pages of ${control.pageSize} bytes, not 8192`);
  }
  const jobs: ChecksumJob[] = [];
  const segmentPages = control.relationSegmentPages;
  await gather(join(dataDir, 'global'), segmentPages, jobs);
  await gatherDatabases(join(dataDir, 'base'), segmentPages, jobs);
  // A tablespace's folder may also hold those of other major versions.
  const major = (await read(join(dataDir, 'PG_VERSION'))).toString().trim();
  const ours = `PG_${major}_${control.catalogVersion}`;
  const spaces = join(dataDir, 'pg_tblspc');
  for (const name of (await list(spaces)).map((entry) => entry.name)) {
    if (databaseFolder.test(name)) await gatherDatabases(join(spaces, name, ours), segmentPages, jobs);
  }
  return jobs;
}

async function gatherDatabases(directory: string, segmentPages: number, jobs: ChecksumJob[]): Promise<void> {
  for (const entry of await list(directory)) {
    if (databaseFolder.test(entry.name)) await gather(join(directory, entry.name), segmentPages, jobs);
  }
}

async function gather(directory: string, segmentPages: number, jobs: ChecksumJob[]): Promise<void> {
  for (const entry of await list(directory)) {
    const match = entry.isFile() ? relationFile.exec(entry.name) : null;
    if (match)
      jobs.push({ path: join(directory, entry.name), firstBlock: Number(match[4] ?? 0) * segmentPages });
  }
}

async function list(directory: string) {
  return readdir(directory, { withFileTypes: true }).catch((thrown: unknown) => {
    throw unreadable(directory, systemCode(thrown) ?? String(thrown));
  });
}

async function read(path: string): Promise<Buffer> {
  return readFile(path).catch((thrown: unknown) => {
    throw unreadable(path, systemCode(thrown) ?? String(thrown));
  });
}

function unreadable(path: string, why: string): HelvinoError {
  return new HelvinoError('TARGET_IO', `${path} cannot be read: ${why}`, { context: { path } });
}
