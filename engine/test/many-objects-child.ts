/**
 * One operation on a repository of very many objects: WAL, and packs that ten backups name. They are made up while they are
 * listed, so that the memory of this process is that of the operation. The last line of output is JSON: `growth`, how much
 * more memory the process took than before, in MiB, and what the operation said.
 * `node many-objects-child.ts OPERATION COUNT`
 */
import { silentProgress } from '../src/base/progress.ts';
import { parseConfigText } from '../src/config/index.ts';
import { copyLog, planCopy } from '../src/operations/copies/copy.ts';
import { planRetentionOf } from '../src/operations/retention/plan.ts';
import { walStatus } from '../src/operations/wal/status.ts';
import { logPieceName, planCollect } from '../src/repository/index.ts';
import { openMemoryDriver, type StorageDriver } from '../src/storage/index.ts';
import { memoryRepository } from './repository-fixture.ts';

const [operation = '', wanted = ''] = process.argv.slice(2);
const count = Number(wanted);
const segment = 16n << 20n;
const backups = 10;
const stored = new Date(Date.UTC(2025, 11, 31));

/** In order of their numbers. */
function packId(n: number): string {
  return n.toString(16).padStart(8, '0').repeat(4);
}

function* walNames(): Generator<string> {
  for (let n = 0; n < count; n++)
    yield logPieceName('db', { line: 1, begin: BigInt(n) * segment, end: BigInt(n + 1) * segment });
}

function* packNames(): Generator<string> {
  for (let n = 0; n < count; n++) yield `packs/${packId(n).slice(0, 2)}/${packId(n)}`;
}

function withMany(driver: StorageDriver): StorageDriver {
  return {
    capabilities: driver.capabilities,
    put: (name, body, how) => driver.put(name, body, how),
    get: (name, range, into) => driver.get(name, range, into),
    head: (name) => driver.head(name),
    remove: (name) => driver.remove(name),
    extendRetention: (name, until) => driver.extendRetention(name, until),
    now: () => driver.now(),
    close: () => driver.close(),
    async *list(prefix) {
      if (prefix === 'wal/db/' || prefix === 'wal/')
        for (const name of walNames()) yield { name, size: 5_000_000, modified: stored };
      if (prefix === 'packs/')
        for (const name of packNames()) yield { name, size: 16 << 20, modified: stored };
      yield* driver.list(prefix);
    },
  };
}

const facts = {
  method: 'physical',
  systemId: '1',
  serverVersion: 180004,
  serverVersionText: '18.4',
  server: 'here',
  fromStandby: false,
  superuser: 'postgres',
  timeline: 1,
  startLsn: '0/1000000',
  stopLsn: '0/1000100',
  walEnd: '0/2000000',
  walSegmentSize: 16 << 20,
  dataChecksums: true,
  tablespaces: [],
  transfer: 'all',
  checksumsVerified: true,
  fingerprint: { state: 'unproven', tables: 0, skipped: 0 },
  warnings: [],
};

const { repository, driver, clock, commit } = await memoryRepository();
const many = repository.on(withMany(driver));
for (let n = 0; n < backups; n++) {
  const packs: string[] = [];
  for (let p = Math.floor((count * n) / backups); p < (count * (n + 1)) / backups; p++) packs.push(packId(p));
  clock.advance(86_400_000);
  await commit(`2026010${n}T000000Z-0000000${n}`, packs, {
    finished: clock.now().toISOString(),
    totals: { files: 1, bytes: 5_000_000, received: 0, fresh: 0, stored: 6, referenced: 12 },
    facts,
  });
}

const settings = parseConfigText(
  `version: 1
repositories: { main: { storage: { type: fs, path: . }, recipients: [age1aaaa], catalogKey: { file: key } } }
databases: { db: { connection: { url: postgresql://localhost/postgres }, repository: main, retention: { keep: { last: 5 }, pitr: 1d } } }
`,
  'test',
).databases.db!;

const request = {
  source: many,
  target: openMemoryDriver({ clock }),
  database: 'db',
  clock,
  progress: silentProgress,
  signal: new AbortController().signal,
};
const operations: Record<string, () => Promise<unknown>> = {
  collect: async () => (await planCollect(many, { graceMs: 0 })).kept.packs,
  retention: async () => (await planRetentionOf(many, 'db', settings)).log.keptPieces,
  status: async () => (await walStatus(many, 'db')).pieces,
  plan: async () => (await planCopy(request)).wal.pieces,
  copy: async () => {
    await copyLog({ ...request, target: withMany(request.target) });
    return count;
  },
};
// What it took to make the repository is given back as far as it can be, and the most so far is what counts from.
(globalThis as { gc?: () => void }).gc?.();
const before = process.memoryUsage().rss;
let peak = before;
const watch = setInterval(() => {
  peak = Math.max(peak, process.memoryUsage.rss());
}, 20);
const said = await operations[operation]!();
clearInterval(watch);
peak = Math.max(peak, process.memoryUsage.rss());
console.log(JSON.stringify({ operation, count, said, growth: Math.round((peak - before) / 2 ** 20) }));
