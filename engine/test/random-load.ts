/**
 * Random changes to a database, and rounds of change and backup after which every backup is restored and compared. All of
 * it follows from the seed, but for the server's own timing.
 */
import assert from 'node:assert/strict';
import type { Client } from 'pg';
import type { Manifest } from '../src/repository/index.ts';
import { type Contents, makeFixture, notPassed, serverContents, withClient } from './backup-fixture.ts';
import { startTestServer, type TestMajor } from './pg-server.ts';

/** mulberry32: small, and the same everywhere. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

class RandomLoad {
  readonly done: string[] = [];
  readonly #client: Client;
  readonly #random: () => number;
  #tables: string[] = [];
  #made = 0;

  constructor(client: Client, random: () => number) {
    this.#client = client;
    this.#random = random;
  }

  async step(): Promise<void> {
    const actions = this.#tables.length === 0 ? [() => this.#create()] : this.#actions();
    for (const statement of this.#pick(actions)()) {
      this.done.push(statement);
      await this.#client.query(statement);
    }
  }

  #actions(): (() => string[])[] {
    const table = this.#pick(this.#tables);
    const part = `i % ${this.#upTo(20)} = ${this.#upTo(3)}`;
    const insert = () => [
      `insert into ${table} select i, md5(i::text), repeat(md5((i * 7)::text), ${this.#upTo(60)}) from generate_series(1, ${this.#upTo(3000)}) i`,
    ];
    const toast = () => [
      `insert into ${table} select i, 'toast', (select string_agg(md5((i * j)::text), '') from generate_series(1, 300) j) from generate_series(1, ${this.#upTo(60)}) i`,
    ];
    const update = () => [
      `update ${table} set t = t || 'u', big = ${this.#pick(['big', 'null', 'repeat(t, 9)'])} where ${part}`,
    ];
    const rare = [
      () => this.#create(),
      () => this.#drop(table),
      () => [`truncate ${table}`],
      () => [`vacuum full ${table}`],
      () => [`cluster ${table} using ${table}_i`],
      () => [
        `create index on ${table} using ${this.#pick(['btree (t)', 'hash (t)', 'gin ((array[t]))', 'brin (i)'])}`,
      ],
      () => [`alter table ${table} add column c${this.done.length} int default ${this.#upTo(100)}`],
      () => [`reindex table ${table}`],
      () => ['checkpoint', 'select pg_switch_wal()'],
      () => ['begin', ...update(), 'rollback'],
      () => [`alter table ${table} set unlogged`, `alter table ${table} set logged`],
    ];
    const common = [
      insert,
      insert,
      toast,
      update,
      update,
      () => [`delete from ${table} where ${part}`],
      () => [`vacuum ${table}`],
    ];
    return this.#random() < 0.6 ? common : rare;
  }

  #create(): string[] {
    const table = `t${++this.#made}`;
    this.#tables.push(table);
    return [
      `create table ${table} (i int, t text, big text)`,
      `create index ${table}_i on ${table} (i)`,
      `insert into ${table} select i, 'new', null from generate_series(1, ${this.#upTo(2000)}) i`,
    ];
  }

  #drop(table: string): string[] {
    this.#tables = this.#tables.filter((other) => other !== table);
    return [`drop table ${table}`];
  }

  #upTo(n: number): number {
    return 1 + Math.floor(this.#random() * n);
  }

  #pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.#random() * from.length)]!;
  }
}

export interface RandomRounds {
  readonly major: TestMajor;
  readonly seed: number;
  /** Backups. */
  readonly rounds: number;
  /** Changes before each. */
  readonly steps: number;
}

interface Taken {
  readonly manifest: Manifest;
  /** Undefined when there was no quiet moment. */
  readonly contents: Contents | undefined;
  /** The number of statements before it. */
  readonly after: number;
}

/** Fails with seed and statements when a backup does not restore to what the source was. */
export async function randomRounds({ major, seed, rounds, steps }: RandomRounds): Promise<void> {
  const random = randomFrom(seed);
  const config: Record<string, string> = major >= 17 ? { summarize_wal: 'on' } : {};
  await using server = await startTestServer({ major, initdbArgs: ['-k'], config });
  await using fixture = await makeFixture();
  const backups: Taken[] = [];
  await withClient(server, async (client) => {
    const load = new RandomLoad(client, random);
    const change = async (count: number) => {
      for (let step = 0; step < count; step++) await load.step();
    };
    /** Every other time with changes meanwhile: then what the source had is what was recorded at the backup's end. */
    const backedUp = async (round: number): Promise<Taken> => {
      const kind = random() < 0.2 ? 'full' : 'auto';
      const read = random() < 0.4 ? 'files' : 'replication';
      const meanwhile = change(round % 2 === 0 ? 0 : 6);
      const [manifest] = await Promise.all([fixture.takeBackup(server, { kind, read }), meanwhile]);
      const after = load.done.length;
      // Changes meanwhile may take longer than a backup waits for a quiet moment; without them it must find one.
      const { state } = manifest.facts.fingerprint as { state: string };
      if (state !== 'taken' && round % 2 === 1) return { manifest, contents: undefined, after };
      assert.equal(state, 'taken');
      const contents = await fixture.recorded(manifest);
      if (round % 2 === 0) assert.deepEqual(contents, await serverContents(server));
      return { manifest, contents, after };
    };
    const context = () => `seed ${seed}, PostgreSQL ${major}:\n${load.done.join(';\n')}`;
    try {
      for (let round = 0; round < rounds; round++) {
        await change(steps);
        backups.push(await backedUp(round));
      }
      for (const [i, { manifest, contents, after }] of backups.entries()) {
        const where = `backup ${i + 1} (${manifest.kind}, ${manifest.facts.transfer}, ${manifest.facts.read}) after statement ${after}`;
        const restored = await fixture.contentsOf(manifest);
        if (contents) assert.deepEqual(asRecorded(restored, contents), contents, where);
        if (i < backups.length - 1 && contents) continue;
        // amcheck knows only some kinds of index: that is unproven, not wrong.
        const bad = notPassed(await fixture.drillIt(manifest)).filter(
          // Without what the source had, much is unproven; nothing may be wrong.
          (line) =>
            contents ? !/^amcheck unproven: .*amcheck has no check for/.test(line) : / failed: /.test(line),
        );
        assert.deepEqual(bad, [], where);
      }
    } catch (thrown) {
      throw new Error(`${(thrown as Error).message}\n${context()}`, { cause: thrown });
    }
  });
}

/** Tables that were dropped or truncated while the source was being read are unproven: nothing is said of them. */
function asRecorded(restored: Contents, recorded: Contents): Contents {
  const unknown = Object.entries(recorded).filter(([, facts]) => facts === 'null null');
  return { ...restored, ...Object.fromEntries(unknown) };
}

/** `HELVINO_TEST_SEED`, to run a failure again; else a new one. */
export function testSeed(): number {
  return Number(process.env.HELVINO_TEST_SEED ?? Math.floor(Math.random() * 2 ** 32));
}
