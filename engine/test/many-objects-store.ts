/**
 * A repository of very many objects: WAL and its index, and packs that ten backups name. They are made up while they are
 * listed and read. What a backup has one of (manifest, file blocks) is on disk: so the memory of a process that works on it
 * is that of the work.
 */
import { mkdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeLogIndex, formatLsn } from '../src/postgres/index.ts';
import { deriveKey, seal } from '../src/repository/crypto.ts';
import { sealEnvelope } from '../src/repository/envelope.ts';
import {
  type CatalogRing,
  contentHasherOf,
  createIdentity,
  createRepository,
  type Extent,
  type FileEntry,
  formatCatalogRing,
  logPieceName,
  openRepository,
  parseCatalogRing,
  type Repository,
  recipientOf,
  StructureWriter,
  writeBlocks,
} from '../src/repository/index.ts';
import { longestSealed, sealLogPiece } from '../src/repository/log-store.ts';
import { chunkPlace, encodeDirectory, encodeHeader, headerLength } from '../src/repository/pack-format.ts';
import { openFsDriver, type StorageDriver } from '../src/storage/index.ts';
import { physicalFactsWith } from './physical-facts.ts';
import { TestClock } from './repository-fixture.ts';

export const segment = 16n << 20n;
export const backups = 10;
export const dayMs = 86_400_000;
const stored = new Date(Date.UTC(2025, 11, 31));
/** A pack is one chunk of so many plain bytes. */
export const packBytes = 200;
const extentsOfFile = 1000;
const firstFile = 'base/5/000000';

/** What is not in the store itself; the keys are in hexadecimal. */
interface Prepared {
  readonly ring: string;
  readonly identity: string;
  readonly dataKey: string;
  readonly dataKeyId: string;
  readonly structurePacks: number;
}

interface Keys {
  readonly ring: CatalogRing;
  readonly dataKey: Buffer;
  readonly dataKeyId: string;
}

export interface ManyObjects {
  readonly repository: Repository;
  readonly identity: string;
  readonly clock: TestClock;
  /** Packs that hold file blocks, beside the many. */
  readonly structurePacks: number;
  /** Another store, which has all that is made up, too. */
  withMany(driver: StorageDriver): StorageDriver;
  /** Of a backup, by its number: a file and what it holds. */
  readonly file: { readonly path: string; content(backup: number): Buffer };
}

/** Makes the backups in `folder`. */
export async function prepareMany(folder: string, count: number): Promise<void> {
  await mkdir(folder, { recursive: true });
  const clock = new TestClock();
  const root = join(folder, 'store');
  const driver = await openFsDriver({ root });
  const identity = await createIdentity();
  const recipients = [await recipientOf(identity)];
  const repository = await createRepository(driver, { recipients, clock });
  const { key: dataKey, keyId: dataKeyId } = await repository.newDataKey(recipients);
  const { ring } = repository;
  const size = makePack(packId(0), { ring, dataKey, dataKeyId }).length;
  let structurePacks = 0;
  for (let n = 0; n < backups; n++) {
    const [from, to] = packsOf(n, count);
    const writer = new StructureWriter(driver, ring);
    const { blocks } = await writeBlocks(repository, writer, { files: filesOf(from, to, dataKeyId) });
    await writer.flush();
    structurePacks += writer.stored.length;
    clock.advance(dayMs);
    const id = backupIdOf(n);
    await repository.commit({
      id,
      database: 'db',
      kind: 'full',
      notes: {},
      keys: [dataKeyId],
      lastFull: '2026-11-25T12:00:00Z',
      started: '2026-01-01T00:00:00.000Z',
      finished: clock.now().toISOString(),
      program: 'test',
      hashKeyId: ring.currentId,
      packs: [
        ...Array.from({ length: to - from }, (_, i) => ({ id: packId(from + i), keyId: dataKeyId, size })),
        ...writer.stored.map((pack) => ({ ...pack, structure: true })),
      ],
      blocks,
      sections: {},
      totals: {
        files: 2 + Math.ceil((to - from) / extentsOfFile),
        bytes: 5_000_000,
        received: 0,
        fresh: 0,
        stored: 2_000_000,
        referenced: 2_000_000,
      },
      facts: factsOf(BigInt(from) * segment + 0x1000n),
    });
    for (const name of [`backups/db/${id}`, `ledger/db/${id}`])
      await utimes(join(root, name), clock.now(), clock.now());
  }
  const prepared: Prepared = {
    ring: formatCatalogRing(ring.keys),
    identity,
    dataKey: dataKey.toString('hex'),
    dataKeyId,
    structurePacks,
  };
  await writeFile(join(folder, 'prepared.json'), JSON.stringify(prepared));
}

/** `root`: the store, or a copy of it. */
export async function openMany(folder: string, root: string, count: number): Promise<ManyObjects> {
  const file = join(folder, 'prepared.json');
  const { structurePacks, ...prepared } = JSON.parse(await readFile(file, 'utf8')) as Prepared;
  const clock = new TestClock();
  clock.advance(backups * dayMs);
  const ring = parseCatalogRing(prepared.ring, file);
  const driver = await openFsDriver({ root });
  const repository = await openRepository(driver, { ring });
  const keys = { ring, dataKey: Buffer.from(prepared.dataKey, 'hex'), dataKeyId: prepared.dataKeyId };
  const objects = new MadeUp(count, keys);
  const withMany = (driver: StorageDriver) => decorate(driver, objects, clock);
  return {
    repository: repository.on(withMany(driver)),
    identity: prepared.identity,
    clock,
    structurePacks,
    withMany,
    file: {
      path: firstFile,
      content: (backup) => {
        const [from, to] = packsOf(backup, count);
        return Buffer.concat(
          Array.from({ length: Math.min(to - from, extentsOfFile) }, (_, i) => plainOf(packId(from + i))),
        );
      },
    },
  };
}

export function backupIdOf(n: number): string {
  return `2026010${n}T000000Z-0000000${n}`;
}

/** The first that backup `n` names, and the one after its last. */
function packsOf(n: number, count: number): [number, number] {
  return [Math.floor((count * n) / backups), Math.floor((count * (n + 1)) / backups)];
}

/** In order of their numbers, and as far apart as random ones. */
function packId(n: number): string {
  return (n * 4294).toString(16).padStart(8, '0').repeat(4);
}

/** Structure packs have random ids. */
function isMany(packName: string): boolean {
  const id = packName.slice(-32);
  return packName.startsWith('packs/') && id === id.slice(0, 8).repeat(4);
}

function plainOf(id: string): Buffer {
  return Buffer.alloc(packBytes, id);
}

function makePack(id: string, { ring, dataKey, dataKeyId }: Keys): Buffer {
  const header = encodeHeader({ id, keyId: dataKeyId, catalogKeyId: ring.currentId, kind: 'data' });
  const place = Buffer.from(id, 'hex');
  const plain = plainOf(id);
  const sealed = seal(deriveKey(dataKey, place, 'chunk'), plain, chunkPlace(place, 0));
  const hasher = contentHasherOf(ring.current);
  const segments = [{ length: packBytes, hash: hasher.hash(plain) }];
  const chunk = {
    stored: sealed.length,
    raw: packBytes,
    codec: 0,
    storedHash: hasher.hash(sealed),
    segments,
  };
  return Buffer.concat([header, sealed, encodeDirectory(header, [chunk], ring.current)]);
}

/** One chunk of each pack, in files one after the other. */
function* filesOf(from: number, to: number, keyId: string): Generator<FileEntry> {
  const common = { mode: 0o700, uid: 0, gid: 0, mtime: 0 };
  const other = { ...common, size: 0, chunkSize: 0, extents: [] };
  for (const path of ['base', 'base/5']) yield { ...other, path, type: 'directory' };
  for (let at = from, n = 0; at < to; at += extentsOfFile, n++) {
    const extents: Extent[] = [];
    for (let p = at; p < Math.min(to, at + extentsOfFile); p++) {
      const chunk = {
        pack: packId(p),
        keyId,
        index: 0,
        offset: headerLength,
        stored: packBytes + 16,
        raw: packBytes,
      };
      extents.push({ length: packBytes, start: 0, chunk });
    }
    const path = firstFile.slice(0, -6) + String(n).padStart(6, '0');
    yield { ...common, path, type: 'file', size: extents.length * packBytes, chunkSize: packBytes, extents };
  }
  yield { ...other, path: 'global', type: 'directory' };
  yield { ...other, path: 'global/pg_control', type: 'file' };
}

function factsOf(walEnd: bigint): Record<string, unknown> {
  return physicalFactsWith({
    server: 'here',
    startLsn: formatLsn(walEnd - 0x200n),
    stopLsn: formatLsn(walEnd - 0x100n),
    walEnd: formatLsn(walEnd),
    fingerprint: { state: 'unproven', tables: 0, skipped: 0 },
  });
}

class MadeUp {
  readonly #count: number;
  readonly #keys: Keys;
  readonly #packSize: number;
  #last: { id: string; bytes: Buffer } = { id: '', bytes: Buffer.alloc(0) };

  constructor(count: number, keys: Keys) {
    this.#count = count;
    this.#keys = keys;
    this.#packSize = makePack(packId(0), keys).length;
  }

  *list(prefix: string): Generator<{ name: string; size: number; modified: Date }> {
    if (prefix === 'wal/db/' || prefix === 'wal/')
      for (const name of this.#walNames()) yield { name, size: 5_000_000, modified: stored };
    if (prefix === 'log-index/db/' || prefix === 'log-index/')
      for (const name of this.#walNames())
        yield { name: name.replace('wal', 'log-index'), size: 500, modified: stored };
    if (prefix === 'packs/')
      for (let n = 0; n < this.#count; n++) {
        const id = packId(n);
        yield { name: `packs/${id.slice(0, 2)}/${id}`, size: this.#packSize, modified: stored };
      }
  }

  head(name: string): { name: string; size: number; modified: Date } | undefined {
    return isMany(name) ? { name, size: this.#packSize, modified: stored } : undefined;
  }

  get(name: string): Buffer | undefined {
    if (name.startsWith('log-index/')) return this.#note(name);
    if (isMany(name)) return this.#pack(name.slice(-32));
    return /^wal\/db\/[0-9A-F]{8}\//.test(name) ? this.#piece(name) : undefined;
  }

  *#walNames(): Generator<string> {
    for (let n = 0; n < this.#count; n++)
      yield logPieceName('db', { line: 1, begin: BigInt(n) * segment, end: BigInt(n + 1) * segment });
  }

  /** A pack is read in parts. */
  #pack(id: string): Buffer {
    if (this.#last.id !== id) this.#last = { id, bytes: makePack(id, this.#keys) };
    return this.#last.bytes;
  }

  /** Of a segment in which nothing happened. */
  #note(name: string): Buffer {
    const [begin, end] = name.slice(-33).split('-') as [string, string];
    const place = { begin: BigInt(`0x${begin}`), end: BigInt(`0x${end}`) };
    const state = { lastEnd: `${place.end}`, order: 0, wholeFrom: null, open: [], recent: [] };
    const part = encodeLogIndex({ ...place, transactions: [], damaged: [], state });
    return sealEnvelope(part, { ring: this.#keys.ring, name, magic: 'HVNOTE1\n' });
  }

  /** Of few bytes: they are checked, and not opened. */
  #piece(name: string): Buffer {
    const { ring, dataKey, dataKeyId } = this.#keys;
    const keys = { catalogKey: ring.current, catalogKeyId: ring.currentId, dataKey, dataKeyId };
    const bytes = Buffer.from(name);
    return Buffer.from(sealLogPiece(bytes, name, keys, Buffer.alloc(longestSealed(bytes.length))));
  }
}

function decorate(driver: StorageDriver, objects: MadeUp, clock: TestClock): StorageDriver {
  const ofOurTime = <Object extends { modified: Date }>(object: Object) =>
    object.modified < clock.now() ? object : { ...object, modified: clock.now() };
  return {
    capabilities: driver.capabilities,
    async put(name, body, how) {
      // Marks of packs: as many.
      if (!name.startsWith('trash/')) await driver.put(name, body, how);
    },
    async get(name, range, into) {
      const whole = objects.get(name);
      if (!whole) return driver.get(name, range, into);
      const bytes = range ? whole.subarray(range.offset, range.offset + range.length) : whole;
      if (into === undefined) return bytes;
      into.set(bytes);
      return into.subarray(0, bytes.length);
    },
    async head(name) {
      const object = objects.head(name) ?? (await driver.head(name));
      return object && ofOurTime(object);
    },
    async remove(name) {
      // What is made up stays: a disk would take its time for each.
      if (!/^(packs|trash|wal|log-index)\//.test(name)) await driver.remove(name);
    },
    extendRetention: (name, until) => driver.extendRetention(name, until),
    now: async () => clock.now(),
    close: () => driver.close(),
    async *list(prefix) {
      yield* objects.list(prefix);
      for await (const object of driver.list(prefix)) yield ofOurTime(object);
    },
  };
}
