/** A repository in memory with a clock that tests set: for leases, collection and the like. No PostgreSQL. */
import type { Clock } from '../src/base/clock.ts';
import {
  createIdentity,
  createRepository,
  packName,
  type Repository,
  recipientOf,
} from '../src/repository/index.ts';
import { openMemoryDriver, type StorageDriver } from '../src/storage/index.ts';

/** Wall clock and monotonic time that stand still until they are moved. */
export class TestClock implements Clock {
  #milliseconds = Date.UTC(2026, 0, 1);

  now(): Date {
    return new Date(this.#milliseconds);
  }

  monotonic(): number {
    return this.#milliseconds;
  }

  async sleep(milliseconds: number): Promise<void> {
    this.advance(milliseconds);
  }

  advance(milliseconds: number): void {
    this.#milliseconds += milliseconds;
  }
}

export interface MemoryRepository {
  readonly clock: TestClock;
  readonly driver: StorageDriver;
  readonly repository: Repository;
  /** Stores some bytes as a pack and returns its id. */
  pack(digit: string): Promise<string>;
  /** Commits a backup that names these packs. */
  commit(id: string, packs: readonly string[], overrides?: Partial<Draft>): Promise<void>;
  names(prefix: string): Promise<string[]>;
}

export async function memoryRepository(): Promise<MemoryRepository> {
  const clock = new TestClock();
  const driver = openMemoryDriver({ clock });
  const recipient = await recipientOf(await createIdentity());
  const repository = await createRepository(driver, { recipients: [recipient], clock });
  return {
    clock,
    driver,
    repository,
    async pack(digit) {
      const id = digit.repeat(32);
      await driver.put(packName(id), [Buffer.from(`pack ${digit}`)], { ifAbsent: true });
      return id;
    },
    async commit(id, packs, overrides) {
      await repository.commit({ ...draft(id, packs, repository.ring.currentId), ...overrides });
    },
    async names(prefix) {
      const names: string[] = [];
      for await (const { name } of driver.list(prefix)) names.push(name);
      return names;
    },
  };
}

type Draft = Parameters<Repository['commit']>[0];

function draft(id: string, packs: readonly string[], hashKeyId: string): Draft {
  return {
    id,
    database: 'db',
    kind: 'full',
    notes: {},
    keys: [],
    lastFull: '2026-11-25T12:00:00Z',
    started: '2026-01-01T00:00:00.000Z',
    finished: '2026-01-01T00:00:01.000Z',
    program: 'test',
    hashKeyId,
    packs: packs.map((pack) => ({ id: pack, keyId: '0'.repeat(16), size: 6 })),
    blocks: [],
    sections: {},
    totals: { files: 0, bytes: 0, received: 0, fresh: 0, stored: 0, referenced: 0 },
    facts: {},
  };
}
