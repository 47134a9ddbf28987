/**
 * One Helvino operation in a process of its own, so that its wall time and peak memory are those of a whole program.
 * `node bench/helvino-child.ts '{"action":"backup",...}'`; the last line of output is a JSON `ChildResult`.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import { systemClock } from '../engine/src/base/clock.ts';
import { silentProgress } from '../engine/src/base/progress.ts';
import { backup } from '../engine/src/operations/backup/backup.ts';
import { restore } from '../engine/src/operations/restore/restore.ts';
import { resolveConnection } from '../engine/src/postgres/index.ts';
import {
  createIdentity,
  createRepository,
  formatCatalogRing,
  type Manifest,
  openIdentities,
  openRepository,
  parseCatalogRing,
  recipientOf,
} from '../engine/src/repository/index.ts';
import { openFsDriver } from '../engine/src/storage/index.ts';

export interface ChildJob {
  readonly action: 'create' | 'backup' | 'restore';
  /** Folder of the repository; its keys are beside it (`.ring`, `.identity`). */
  readonly root: string;
  /** Of the server, for a backup. */
  readonly url?: string;
  readonly kind?: 'full' | 'incremental';
  readonly level?: number;
  readonly read?: 'replication' | 'files';
  /** Where to restore the newest backup to. */
  readonly directory?: string;
  /** As on a host with so many: how many threads and buffers there are goes by that. */
  readonly processors?: number;
}

export interface ChildResult {
  readonly totals: Manifest['totals'];
  readonly transfer: string;
  /** VmHWM of the process, all threads included, in MiB. */
  readonly peakMiB: number;
}

const program = 'helvino bench';
const name = 'bench';

async function repositoryAt(root: string) {
  const driver = await openFsDriver({ root });
  const ring = await readFile(`${root}.ring`, 'utf8');
  const identity = await readFile(`${root}.identity`, 'utf8');
  // As the configuration of a real host has it.
  const recipient = await readFile(`${root}.recipient`, 'utf8');
  const repository = await openRepository(driver, { ring: parseCatalogRing(ring, root) });
  return { repository, identity, recipient };
}

async function create(root: string): Promise<void> {
  await mkdir(root, { recursive: true });
  const driver = await openFsDriver({ root });
  const identity = await createIdentity();
  const recipient = await recipientOf(identity);
  const repository = await createRepository(driver, { recipients: [recipient] });
  await writeFile(`${root}.ring`, formatCatalogRing(repository.ring.keys), { mode: 0o600 });
  await writeFile(`${root}.identity`, identity, { mode: 0o600 });
  await writeFile(`${root}.recipient`, recipient);
}

async function run(job: ChildJob): Promise<Manifest> {
  const { repository, identity, recipient } = await repositoryAt(job.root);
  const common = {
    repository,
    program,
    clock: systemClock,
    progress: silentProgress,
    signal: new AbortController().signal,
  };
  if (job.action === 'backup') {
    return backup({
      ...common,
      recipients: [recipient],
      database: name,
      connection: await resolveConnection({ url: job.url! }, process.env),
      kind: job.kind ?? 'full',
      checkpoint: 'fast',
      verifyChecksums: true,
      read: job.read ?? 'replication',
      fingerprint: 'off',
      fingerprintMaxBytes: 0,
      notes: {},
      newCluster: false,
      level: job.level ?? 1,
    });
  }
  const newest = (await repository.backups(name)).at(-1);
  if (newest === undefined) throw new Error(`no backup in ${job.root}`);
  const manifest = await repository.manifest(name, newest.id);
  const identities = await openIdentities(identity, 'the bench');
  await restore({
    ...common,
    identities,
    manifest,
    directory: job.directory!,
    delta: false,
    tablespaces: new Map(),
    newTimeline: true,
  });
  return manifest;
}

async function report(manifest: Manifest): Promise<void> {
  const status = await readFile('/proc/self/status', 'utf8');
  const result: ChildResult = {
    totals: manifest.totals,
    transfer: String(manifest.facts.transfer),
    peakMiB: Number(/VmHWM:\s+(\d+) kB/.exec(status)![1]) / 1024,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

const job = JSON.parse(process.argv[2]!) as ChildJob;
if (job.processors !== undefined) {
  const { processors } = job;
  os.availableParallelism = () => processors;
  syncBuiltinESMExports();
}
if (job.action === 'create') await create(job.root);
else await report(await run(job));
