/**
 * One operation on a repository of very many objects (many-objects-store.ts). The last line of output is JSON: `growth`, how
 * much more memory the process took at its peak than before, in MiB, and `said`, of how many objects the operation spoke.
 *
 *     node many-objects-child.ts prepare COUNT FOLDER       makes the backups: what that takes is not measured
 *     node many-objects-child.ts OPERATION COUNT FOLDER
 */
import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { silentProgress } from '../src/base/progress.ts';
import { parseConfigText } from '../src/config/index.ts';
import { copy, copyLog, planCopy } from '../src/operations/copies/copy.ts';
import { findTransactions } from '../src/operations/find/find.ts';
import { planLifecycle } from '../src/operations/lifecycle/plan.ts';
import { listBackups } from '../src/operations/list.ts';
import { findRecovery } from '../src/operations/restore/find-recovery.ts';
import { restore } from '../src/operations/restore/restore.ts';
import { applyRetention } from '../src/operations/retention/apply.ts';
import { planRetentionOf } from '../src/operations/retention/plan.ts';
import { verify } from '../src/operations/verify/verify.ts';
import { walStatus } from '../src/operations/wal/status.ts';
import { formatLsn } from '../src/postgres/index.ts';
import { createIdentity, openIdentities, planCollect } from '../src/repository/index.ts';
import { openFsDriver } from '../src/storage/index.ts';
import {
  backupIdOf,
  backups,
  dayMs,
  openMany,
  packBytes,
  prepareMany,
  segment,
} from './many-objects-store.ts';

const [operation = '', wanted = '', folder = ''] = process.argv.slice(2);
const count = Number(wanted);
if (operation === 'prepare') {
  await prepareMany(folder, count);
  process.exit(0);
}

const scratch = await mkdtemp(join(folder, 'scratch-'));
let root = join(folder, 'store');
if (operation === 'apply') {
  root = join(scratch, 'store');
  await cp(join(folder, 'store'), root, { recursive: true, preserveTimestamps: true });
}
const objects = await openMany(folder, root, count);
const { repository, clock } = objects;
const settings = (retention: string) =>
  parseConfigText(
    `version: 1
repositories: { main: { storage: { type: fs, path: . }, recipients: [age1aaaa], catalogKey: { file: key } } }
databases: { db: { connection: { url: postgresql://localhost/postgres }, repository: main, retention: ${retention} } }
`,
    'test',
  ).databases.db!;
const short = settings('{ keep: { last: 5 }, pitr: 1d }');

const { signal } = new AbortController();
const request = {
  source: repository,
  target: await openFsDriver({ root: join(scratch, 'copy') }),
  database: 'db',
  clock,
  progress: silentProgress,
  signal,
};
const common = { repository, database: 'db', progress: silentProgress, signal };

async function verified(readData: boolean): Promise<unknown> {
  const report = await verify({ ...common, readData });
  return report.verdict === 'passed'
    ? report.packs - objects.structurePacks
    : [report.others[0], ...report.backups.flatMap(({ damage }) => damage[0] ?? [])];
}

const operations: Record<string, () => Promise<unknown>> = {
  collect: async () => (await planCollect(repository, { graceMs: 0 })).kept.packs - objects.structurePacks,
  retention: async () => {
    const { log } = await planRetentionOf(repository, 'db', short);
    return log.remove.length > 0.7 * count ? log.keptPieces + log.remove.length : log.reason;
  },
  apply: async () => {
    const { id, keptPieces } = await planRetentionOf(repository, 'db', short).then(({ id, log }) => ({
      id,
      keptPieces: log.keptPieces,
    }));
    const done = await applyRetention({ ...common, settings: short, others: [], planId: id, graceMs: 0 });
    return done.removed.length === 5 ? keptPieces + done.logRemoved : done.removed;
  },
  status: async () => (await walStatus(repository, 'db')).pieces,
  plan: async () => (await planCopy(request)).wal.pieces,
  wal: async () => {
    await copyLog({ ...request, target: objects.withMany(request.target) });
    return count;
  },
  copy: async () => {
    const report = await copy({ ...request, target: objects.withMany(request.target) });
    return report.backups.length === backups && report.problems.length === 0 ? count : report;
  },
  list: async () => ((await listBackups(repository, 'db')).length === backups ? count : 0),
  missing: async () => {
    const { packs } = await repository.manifest('db', backupIdOf(0));
    return (await repository.missingPacks({ packs })).length === 0 ? count : 0;
  },
  find: async () => {
    const { searched, transactions } = await findTransactions({
      ...common,
      filter: { tables: [], xid: 77, drops: false, truncates: false, all: true },
      limit: 20,
    });
    return transactions.length === 0 && searched[0]?.to === formatLsn(BigInt(count) * segment)
      ? count
      : searched;
  },
  lifecycle: async () => {
    clock.advance(400 * dayMs);
    const { packs } = await planLifecycle(repository, {
      database: 'db',
      settings: settings('{ keep: { within: 3650d }, pitr: 1d }'),
    });
    return packs.length === 0.7 * count ? count : packs.length;
  },
  recovery: async () => {
    const identities = await openIdentities(await createIdentity(), 'the test');
    const found = await findRecovery({ ...common, identities, target: { kind: 'latest' } });
    let runs = 0;
    for (const _ of found.log.runs({ line: 1, from: 0n, to: found.target.end })) runs++;
    return runs;
  },
  restore: async () => {
    const directory = join(scratch, 'restored');
    const done = await restore({
      ...common,
      identities: await openIdentities(objects.identity, 'the test'),
      manifest: await repository.manifest('db', backupIdOf(9)),
      directory,
      delta: false,
      tablespaces: new Map(),
      newTimeline: true,
      clock,
    });
    assert.deepEqual(await readFile(join(directory, objects.file.path)), objects.file.content(9));
    return (done.written / packBytes) * backups;
  },
  verify: () => verified(false),
  'read-data': () => verified(true),
};

// The highest since now: https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html
await writeFile('/proc/self/clear_refs', '5');
const before = process.memoryUsage.rss();
const begun = performance.now();
const said = await operations[operation]!();
const seconds = Math.round((performance.now() - begun) / 1000);
const [, peak] = /^VmHWM:\s+(\d+) kB$/m.exec(await readFile('/proc/self/status', 'utf8'))!;
const growth = Math.round((Number(peak) * 1024 - before) / 2 ** 20);
await rm(scratch, { recursive: true });
console.log(JSON.stringify({ operation, count, said, growth, seconds }));
