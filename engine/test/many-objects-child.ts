/**
 * One operation on a repository of very many objects: WAL and its index, and packs that ten backups name. They are made up
 * while they are listed and read, so that the memory of this process is that of the operation. The last line of output is JSON:
 * `growth`, how much more memory the process took than before, in MiB, and `said`, of how many objects the operation spoke.
 *
 *     node many-objects-child.ts prepare COUNT FILE       makes the backups: what that takes is not measured
 *     node many-objects-child.ts OPERATION COUNT FILE
 */
import { readFile, writeFile } from 'node:fs/promises';
import { silentProgress } from '../src/base/progress.ts';
import { parseConfigText } from '../src/config/index.ts';
import { copy, copyLog, planCopy } from '../src/operations/copies/copy.ts';
import { findTransactions } from '../src/operations/find/find.ts';
import { planLifecycle } from '../src/operations/lifecycle/plan.ts';
import { listBackups } from '../src/operations/list.ts';
import { findRecovery } from '../src/operations/restore/find-recovery.ts';
import { applyRetention } from '../src/operations/retention/apply.ts';
import { planRetentionOf } from '../src/operations/retention/plan.ts';
import { verify } from '../src/operations/verify/verify.ts';
import { walStatus } from '../src/operations/wal/status.ts';
import { encodeLogIndex, formatLsn } from '../src/postgres/index.ts';
import { sealEnvelope } from '../src/repository/envelope.ts';
import {
  createIdentity,
  formatCatalogRing,
  logPieceName,
  openIdentities,
  openRepository,
  parseCatalogRing,
  planCollect,
} from '../src/repository/index.ts';
import { encodeDirectory, encodeHeader } from '../src/repository/pack-format.ts';
import { openMemoryDriver, type StorageDriver } from '../src/storage/index.ts';
import { type MemoryRepository, memoryRepository, TestClock } from './repository-fixture.ts';

const [operation = '', wanted = '', file = ''] = process.argv.slice(2);
const count = Number(wanted);
const segment = 16n << 20n;
const backups = 10;
const dayMs = 86_400_000;
const stored = new Date(Date.UTC(2025, 11, 31));
const { repository, driver, clock, commit } =
  operation === 'prepare' ? await memoryRepository() : await load();
const keyId = repository.ring.currentId;

/** In order of their numbers, and as far apart as random ones. */
function packId(n: number): string {
  return (n * 4294).toString(16).padStart(8, '0').repeat(4);
}

/** With one chunk, which is not there: only its directory is read. */
function packOf(id: string): Buffer {
  const header = encodeHeader({ id, keyId, catalogKeyId: keyId, kind: 'data' });
  const hash = Buffer.alloc(16);
  const chunk = { stored: 100, raw: 200, codec: 1, storedHash: hash, segments: [{ length: 200, hash }] };
  const directory = encodeDirectory(header, [chunk], repository.ring.current);
  return Buffer.concat([header, Buffer.alloc(100), directory]);
}

const packSize = packOf(packId(0)).length;

function* walNames(): Generator<string> {
  for (let n = 0; n < count; n++)
    yield logPieceName('db', { line: 1, begin: BigInt(n) * segment, end: BigInt(n + 1) * segment });
}

/** Of a segment in which nothing happened. */
function noteOf(name: string): Buffer {
  const [begin, end] = name.slice(-33).split('-') as [string, string];
  const place = { begin: BigInt(`0x${begin}`), end: BigInt(`0x${end}`) };
  const state = { lastEnd: `${place.end}`, order: 0, wholeFrom: null, open: [], recent: [] };
  const part = encodeLogIndex({ ...place, transactions: [], damaged: [], state });
  return sealEnvelope(part, { ring: repository.ring, name, magic: 'HVNOTE1\n' });
}

function* packNames(): Generator<string> {
  for (let n = 0; n < count; n++) yield `packs/${packId(n).slice(0, 2)}/${packId(n)}`;
}

function withMany(driver: StorageDriver): StorageDriver {
  return {
    capabilities: driver.capabilities,
    async put(name, body, how) {
      // Marks of packs: as many, and this store would hold them in this memory.
      if (!name.startsWith('trash/')) await driver.put(name, body, how);
    },
    async get(name, range, into) {
      if (name.startsWith('log-index/')) return noteOf(name);
      if (!name.startsWith('packs/')) return driver.get(name, range, into);
      const pack = packOf(name.slice(-32));
      return range ? pack.subarray(range.offset, range.offset + range.length) : pack;
    },
    async head(name) {
      if (!name.startsWith('packs/')) return driver.head(name);
      return { name, size: packSize, modified: stored };
    },
    remove: (name) => driver.remove(name),
    extendRetention: (name, until) => driver.extendRetention(name, until),
    now: () => driver.now(),
    close: () => driver.close(),
    async *list(prefix) {
      if (prefix === 'wal/db/' || prefix === 'wal/')
        for (const name of walNames()) yield { name, size: 5_000_000, modified: stored };
      if (prefix === 'log-index/db/' || prefix === 'log-index/')
        for (const name of walNames())
          yield { name: name.replace('wal', 'log-index'), size: 500, modified: stored };
      if (prefix === 'packs/')
        for (const name of packNames()) yield { name, size: packSize, modified: stored };
      yield* driver.list(prefix);
    },
  };
}

function facts(walEnd: bigint): Record<string, unknown> {
  return {
    method: 'physical',
    systemId: '1',
    serverVersion: 180004,
    serverVersionText: '18.4',
    server: 'here',
    fromStandby: false,
    superuser: 'postgres',
    timeline: 1,
    startLsn: formatLsn(walEnd - 0x200n),
    stopLsn: formatLsn(walEnd - 0x100n),
    walEnd: formatLsn(walEnd),
    walSegmentSize: 16 << 20,
    dataChecksums: true,
    tablespaces: [],
    transfer: 'all',
    checksumsVerified: true,
    fingerprint: { state: 'unproven', tables: 0, skipped: 0 },
    warnings: [],
  };
}

/** The objects of the repository, and when they were written: as JSON. */
interface Prepared {
  readonly ring: string;
  readonly objects: readonly (readonly [name: string, base64: string, modified: number])[];
}

async function prepare(): Promise<void> {
  for (let n = 0; n < backups; n++) {
    const packs: string[] = [];
    for (let p = Math.floor((count * n) / backups); p < (count * (n + 1)) / backups; p++)
      packs.push(packId(p));
    clock.advance(dayMs);
    await commit(`2026010${n}T000000Z-0000000${n}`, packs, {
      finished: clock.now().toISOString(),
      packs: packs.map((id) => ({ id, keyId, size: packSize })),
      totals: { files: 1, bytes: 5_000_000, received: 0, fresh: 0, stored: 2_000_000, referenced: 2_000_000 },
      facts: facts(BigInt(Math.floor((count * n) / backups)) * segment + 0x1000n),
    });
  }
  const objects: [string, string, number][] = [];
  for await (const { name, modified } of driver.list(''))
    objects.push([name, Buffer.from(await driver.get(name)).toString('base64'), modified.getTime()]);
  const prepared: Prepared = { ring: formatCatalogRing(repository.ring.keys), objects };
  await writeFile(file, JSON.stringify(prepared));
}

async function load(): Promise<Pick<MemoryRepository, 'repository' | 'driver' | 'clock' | 'commit'>> {
  const { ring, objects } = JSON.parse(await readFile(file, 'utf8')) as Prepared;
  const clock = new TestClock();
  const driver = openMemoryDriver({ clock });
  for (const [name, base64, modified] of [...objects].sort((a, b) => a[2] - b[2])) {
    clock.advance(modified - clock.now().getTime());
    await driver.put(name, [Buffer.from(base64, 'base64')], { ifAbsent: true });
  }
  const repository = await openRepository(driver, { ring: parseCatalogRing(ring, file) });
  return { repository, driver, clock, commit: () => Promise.reject(new Error('it is only read')) };
}

if (operation === 'prepare') {
  await prepare();
  process.exit(0);
}

const many = repository.on(withMany(driver));
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
  source: many,
  target: openMemoryDriver({ clock }),
  database: 'db',
  clock,
  progress: silentProgress,
  signal,
};
const repositoryOf = { repository: many, database: 'db', progress: silentProgress, signal };

const operations: Record<string, () => Promise<unknown>> = {
  collect: async () => (await planCollect(many, { graceMs: 0 })).kept.packs,
  retention: async () => {
    const { log } = await planRetentionOf(many, 'db', short);
    return log.remove.length > 0.7 * count ? log.keptPieces + log.remove.length : log.reason;
  },
  apply: async () => {
    const { id, keptPieces } = await planRetentionOf(many, 'db', short).then(({ id, log }) => ({
      id,
      keptPieces: log.keptPieces,
    }));
    const common = { ...repositoryOf, settings: short, others: [], planId: id, graceMs: 0 };
    const done = await applyRetention(common);
    return done.removed.length === 5 ? keptPieces + done.logRemoved : done.removed;
  },
  status: async () => (await walStatus(many, 'db')).pieces,
  plan: async () => (await planCopy(request)).wal.pieces,
  wal: async () => {
    await copyLog({ ...request, target: withMany(request.target) });
    return count;
  },
  copy: async () => {
    const report = await copy({ ...request, target: withMany(request.target) });
    return report.backups.length === backups && report.problems.length === 0 ? count : report;
  },
  list: async () => ((await listBackups(many, 'db')).length === backups ? count : 0),
  missing: async () => {
    const { packs } = await many.manifest('db', (await many.backups('db'))[0]!.id);
    return (await many.missingPacks({ packs })).length === 0 ? count : 0;
  },
  find: async () => {
    const { searched, transactions } = await findTransactions({
      ...repositoryOf,
      filter: { tables: [], xid: 77, drops: false, truncates: false, all: true },
      limit: 20,
    });
    return transactions.length === 0 && searched[0]?.to === formatLsn(BigInt(count) * segment)
      ? count
      : searched;
  },
  lifecycle: async () => {
    clock.advance(400 * dayMs);
    const { packs } = await planLifecycle(many, {
      database: 'db',
      settings: settings('{ keep: { within: 3650d }, pitr: 1d }'),
    });
    return packs.length === 0.7 * count ? count : packs.length;
  },
  recovery: async () => {
    const identities = await openIdentities(await createIdentity(), 'the test');
    const found = await findRecovery({ ...repositoryOf, identities, target: { kind: 'latest' } });
    let runs = 0;
    for (const _ of found.log.runs({ line: 1, from: 0n, to: found.target.end })) runs++;
    return runs;
  },
  verify: async () => {
    const report = await verify({ ...repositoryOf, readData: false });
    return report.verdict === 'passed'
      ? report.packs
      : report.backups.flatMap(({ damage }) => damage[0] ?? []);
  },
};
const before = process.memoryUsage().rss;
let peak = before;
const watch = setInterval(() => {
  peak = Math.max(peak, process.memoryUsage.rss());
}, 20);
const begun = performance.now();
const said = await operations[operation]!();
const seconds = Math.round((performance.now() - begun) / 1000);
clearInterval(watch);
peak = Math.max(peak, process.memoryUsage.rss());
console.log(
  JSON.stringify({ operation, count, said, growth: Math.round((peak - before) / 2 ** 20), seconds }),
);
