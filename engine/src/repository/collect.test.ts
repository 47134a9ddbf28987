import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { type MemoryRepository, memoryRepository } from '../../test/repository-fixture.ts';
import { hasCode } from '../storage/testing/contract-tools.ts';
import { withFaults } from '../storage/testing/faulty-driver.ts';
import { applyCollect, type CollectPlan, planCollect, readMarks } from './collect.ts';
import { Lease, leaseLifetimeMs } from './lease.ts';
import { openRepository } from './repository.ts';

const hour = 60 * 60_000;
const grace = { graceMs: 24 * hour };
const noGrace = { graceMs: 0 };

describe('collection', () => {
  let memory: MemoryRepository;
  let [kept, garbage] = ['', ''];

  beforeEach(async () => {
    memory = await memoryRepository();
    [kept, garbage] = [await memory.pack('a'), await memory.pack('b')];
    await memory.commit('one', [kept]);
  });

  function lease(uses: readonly string[] = []): Promise<Lease> {
    return Lease.acquire(memory.driver, memory.clock, { kind: 'backup', uses });
  }

  /** Plans and applies once. */
  async function collect(options = grace) {
    const plan = await planCollect(memory.repository, options);
    const { removed, ...done } = await applyCollect(memory.repository, plan, options);
    return { ...done, removed: [...removed] };
  }

  async function packs(): Promise<string[]> {
    return (await memory.names('packs/')).map((name) => name.slice('packs/aa/'.length));
  }

  function ids(plan: CollectPlan) {
    const { mark, remove, wait } = plan;
    const named = (packs: Iterable<{ id: string }>) => [...packs].map(({ id }) => id);
    return { mark: named(mark), remove: named(remove), wait: named(wait) };
  }

  test('garbage younger than the grace time – waits, with the reason and what is kept', async () => {
    memory.clock.advance(23 * hour);
    const plan = await planCollect(memory.repository, grace);
    assert.deepEqual(ids(plan), { mark: [], remove: [], wait: [garbage] });
    assert.equal([...plan.wait][0]?.reason, 'written less than the grace time ago (3600 s left)');
    assert.deepEqual(plan.kept, { packs: 1, bytes: 6 });
    assert.deepEqual(await collect(), { marked: 0, removed: [], parts: [] });
    assert.deepEqual(await packs(), [kept, garbage]);
  });

  test('a manifest is missing that the ledger has – nothing is planned until it is back or given up', async () => {
    memory.clock.advance(48 * hour);
    await memory.driver.remove('backups/db/one');
    await assert.rejects(planCollect(memory.repository, noGrace), hasCode('REPOSITORY_DAMAGED'));
    assert.deepEqual(await packs(), [kept, garbage]);
    await memory.repository.remove('db', 'one');
    await collect(noGrace);
    assert.deepEqual(await packs(), []);
  });

  test('old garbage – marked, then a grace time later removed with its mark', async () => {
    memory.clock.advance(24 * hour);
    assert.deepEqual(await collect(), { marked: 1, removed: [], parts: [] });
    assert.deepEqual(
      [...(await readMarks(memory.driver))],
      [{ id: garbage, size: memory.clock.now().getTime() }],
    );
    memory.clock.advance(24 * hour - 1000);
    assert.deepEqual(ids(await planCollect(memory.repository, grace)), {
      mark: [],
      remove: [],
      wait: [garbage],
    });
    memory.clock.advance(1000);
    assert.deepEqual(await collect(), { marked: 0, removed: [{ id: garbage, size: 6 }], parts: [] });
    assert.deepEqual(await packs(), [kept]);
    assert.deepEqual(await memory.names('trash/'), []);
  });

  test('no grace time – marked and removed in one go', async () => {
    assert.deepEqual(await collect(noGrace), { marked: 1, removed: [{ id: garbage, size: 6 }], parts: [] });
    assert.deepEqual([await packs(), await memory.names('trash/')], [[kept], []]);
  });

  test('a plan – changes nothing', async () => {
    const before = await memory.names('');
    await planCollect(memory.repository, noGrace);
    assert.deepEqual(await memory.names(''), before);
  });

  test('a run that began before the pack was written is alive – nothing is marked; dead, it goes', async () => {
    memory.clock.advance(2000);
    const run = await lease();
    memory.clock.advance(2000);
    const fresh = await memory.pack('c');
    memory.clock.advance(leaseLifetimeMs - 2000);
    const plan = await planCollect(memory.repository, noGrace);
    assert.deepEqual(ids(plan), { mark: [garbage], remove: [], wait: [fresh] });
    assert.match(
      [...plan.wait][0]!.reason,
      new RegExp(`^run ${run.run} \\(backup\\) is alive since 2026-01-01T00:00:02`),
    );
    memory.clock.advance(5000);
    assert.deepEqual((await collect(noGrace)).removed.map((p) => p.id).sort(), [garbage, fresh].sort());
    await run.release();
    assert.deepEqual(await memory.names('leases/'), [], 'leases of dead runs are swept');
  });

  test('a run that began before the mark is alive – the pack stays, and can be named again', async () => {
    await memory.commit('old', [garbage]);
    memory.clock.advance(hour);
    const run = await lease(['old']);
    // As if the removal had looked at the leases just before this one came.
    await memory.driver.remove('ledger/db/old');
    await memory.driver.remove('backups/db/old');
    memory.clock.advance(2000);
    // Written long before the run, so it is marked; but it is not removed.
    assert.deepEqual(await collect(noGrace), { marked: 1, removed: [], parts: [] });
    memory.clock.advance(2000);
    assert.deepEqual(await collect(noGrace), { marked: 0, removed: [], parts: [] });
    await memory.commit('new', [garbage]);
    await run.release();
    const plan = await planCollect(memory.repository, noGrace);
    assert.deepEqual(
      [[...plan.unmark].map(({ id }) => id), ids(plan)],
      [[garbage], { mark: [], remove: [], wait: [] }],
    );
    await collect(noGrace);
    assert.deepEqual([await packs(), await memory.names('trash/')], [[kept, garbage], []]);
  });

  test('a run that began long after the mark – does not hold the removal off', async () => {
    memory.clock.advance(24 * hour);
    await collect();
    memory.clock.advance(24 * hour);
    const run = await lease();
    assert.deepEqual((await collect()).removed, [{ id: garbage, size: 6 }]);
    await run.release();
  });

  test('named between plan and apply – not removed, and its mark goes with the next', async () => {
    const plan = await planCollect(memory.repository, noGrace);
    await memory.commit('two', [garbage]);
    assert.deepEqual([...(await applyCollect(memory.repository, plan, noGrace)).removed], []);
    assert.deepEqual(await packs(), [kept, garbage]);
    await collect(noGrace);
    assert.deepEqual(await memory.names('trash/'), []);
  });

  test('mark of a pack that is gone – removed', async () => {
    await memory.driver.put(`trash/${'e'.repeat(32)}`, [], { ifAbsent: true });
    await collect();
    assert.deepEqual(await memory.names('trash/'), []);
  });

  test('two collections of one plan at once – both succeed, all garbage is gone', async () => {
    for (const digit of ['c', 'd', 'e']) await memory.pack(digit);
    const plan = await planCollect(memory.repository, noGrace);
    const done = await Promise.all([1, 2].map(() => applyCollect(memory.repository, plan, noGrace)));
    assert.ok(done.flatMap((one) => [...one.removed]).length >= 4);
    assert.deepEqual([await packs(), await memory.names('trash/')], [[kept], []]);
  });

  test('a manifest cannot be read – refused, nothing is marked or removed', async () => {
    // A manifest under another name is not what that name promises.
    const bytes = await memory.driver.get('backups/db/one');
    await memory.driver.put('backups/db/torn', [bytes], { ifAbsent: true });
    const before = await memory.names('');
    await assert.rejects(planCollect(memory.repository, noGrace), hasCode('REPOSITORY_DAMAGED'));
    assert.deepEqual(await memory.names(''), before);
  });

  test('a backup is removed while a plan is made – the plan succeeds', async () => {
    await memory.commit('two', [garbage]);
    const { driver } = memory;
    // Between the listing of manifests and their reading.
    const get: typeof driver.get = async (name, range, into) => {
      if (name === 'backups/db/one') await memory.repository.remove('db', 'two');
      return driver.get(name, range, into);
    };
    const { ring } = memory.repository;
    const repository = await openRepository({ ...withFaults(driver, {}), get }, { ring });
    assert.deepEqual(ids(await planCollect(repository, noGrace)).mark, [garbage]);
  });

  test('a backup is removed – its packs become garbage, those it shares stay', async () => {
    const own = await memory.pack('c');
    await memory.commit('two', [kept, own]);
    await memory.repository.remove('db', 'two');
    await collect(noGrace);
    assert.deepEqual(await packs(), [kept]);
  });
});
