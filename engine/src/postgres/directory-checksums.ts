/** Checks the checksum of every page of a data directory whose server was shut down cleanly. */
import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Progress } from '../base/progress.ts';
import type { BadPage } from './page-checksum.ts';

export interface ChecksumJob {
  readonly path: string;
  /** Of the file's first page, counted through the segments of the relation. */
  readonly firstBlock: number;
}

export interface ChecksumResult {
  readonly path: string;
  readonly pages: number;
  readonly bad: readonly BadPage[];
}

export interface DirectoryChecksums {
  readonly files: number;
  readonly pages: number;
  /** Paths relative to the data directory. */
  readonly bad: readonly (BadPage & { readonly path: string })[];
}

/** Pages in a segment of 1 GiB. */
const segmentPages = 131072;
/** Relation files: number, fork, segment. Temporary relations (t3_16384) are not in backups. */
const relationFile = /^\d+(_(fsm|vm|init))?(\.(\d+))?$/;

export async function verifyDirectoryChecksums(
  dataDir: string,
  { progress, signal, workers = 2 }: { progress?: Progress; signal?: AbortSignal; workers?: number },
): Promise<DirectoryChecksums> {
  const jobs: ChecksumJob[] = [];
  for (const top of ['base', 'global', 'pg_tblspc']) await gather(join(dataDir, top), jobs);
  progress?.phase('page checksums', jobs.length, 'items');
  const totals = { files: 0, pages: 0, bad: [] as (BadPage & { path: string })[] };
  const next = jobs.values();
  await Promise.all(Array.from({ length: workers }, () => runWorker(next, (result) => {
    signal?.throwIfAborted();
    totals.files++;
    totals.pages += result.pages;
    for (const page of result.bad) totals.bad.push({ ...page, path: relative(dataDir, result.path) });
    progress?.advance(1);
  })));
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
    await worker.terminate();
  }
}

/** Follows the links of tablespaces. */
async function gather(directory: string, jobs: ChecksumJob[]): Promise<void> {
  for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => [])) {
    const path = join(directory, entry.name);
    if (entry.isDirectory() || entry.isSymbolicLink()) await gather(path, jobs);
    const match = entry.isFile() ? relationFile.exec(entry.name) : null;
    if (match) jobs.push({ path, firstBlock: Number(match[4] ?? 0) * segmentPages });
  }
}
