import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';
import { type MemoryRepository, memoryRepository } from '../../test/repository-fixture.ts';
import { hasCode } from '../storage/testing/contract-tools.ts';
import { withFaults } from '../storage/testing/faulty-driver.ts';
import { Lease, leaseLifetimeMs, liveLeases } from './lease.ts';

const minute = 60_000;

describe('leases', () => {
  let memory: MemoryRepository;

  beforeEach(async () => {
    memory = await memoryRepository();
    mock.timers.enable({ apis: ['setInterval'] });
  });
  afterEach(() => mock.timers.reset());

  /** Time passes for the store, for the run and for timers; renewals that this causes are done. */
  async function pass(milliseconds: number): Promise<void> {
    for (let left = milliseconds; left > 0; left -= minute) {
      memory.clock.advance(Math.min(left, minute));
      mock.timers.tick(Math.min(left, minute));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async function acquire(driver = memory.driver): Promise<Lease> {
    return Lease.acquire(driver, memory.clock, { kind: 'backup', uses: ['one'] });
  }

  async function liveRuns(): Promise<string[]> {
    return (await liveLeases(memory.driver)).map((lease) => lease.run);
  }

  test('acquired – alive, and says what it uses and since when by the clock of the store', async () => {
    const began = memory.clock.now();
    const lease = await acquire();
    assert.deepEqual(await liveLeases(memory.driver), [
      { run: lease.run, kind: 'backup', uses: ['one'], began, renewed: began },
    ]);
    await lease.release();
  });

  test('held for hours – renewed each minute, alive, and only two objects are kept', async () => {
    const began = memory.clock.now();
    const lease = await acquire();
    await pass(180 * minute);
    const [facts] = await liveLeases(memory.driver);
    assert.deepEqual([facts?.run, facts?.began, facts?.renewed], [lease.run, began, memory.clock.now()]);
    lease.assertLive();
    assert.deepEqual(await memory.names('leases/'), [
      `leases/${lease.run}/00000180`,
      `leases/${lease.run}/00000181`,
    ]);
    await lease.release();
  });

  test('dead for a while, then renewed – still refused at the commit: what it protected may be gone', async () => {
    const lease = await acquire();
    memory.clock.advance(leaseLifetimeMs + minute);
    await pass(minute);
    assert.deepEqual(await liveRuns(), [lease.run]);
    assert.throws(() => lease.assertLive(), hasCode('BACKUP_EXPIRED_LEASE'));
    await lease.release();
  });

  test('released – no object is left, and no renewal comes after', async () => {
    const lease = await acquire();
    await pass(3 * minute);
    await lease.release();
    await pass(30 * minute);
    assert.deepEqual(await memory.names('leases/'), []);
  });

  test('not renewed – dead after ten minutes by the clock of the store, and swept only when asked', async () => {
    const lease = await acquire();
    memory.clock.advance(leaseLifetimeMs);
    assert.deepEqual(await liveRuns(), [lease.run]);
    memory.clock.advance(1);
    assert.deepEqual(await liveRuns(), []);
    assert.equal((await memory.names('leases/')).length, 1);
    await liveLeases(memory.driver, { removeDead: true });
    assert.deepEqual(await memory.names('leases/'), []);
    await lease.release();
  });

  test('holder process of this machine is gone – dead at once', async () => {
    const lease = await acquire();
    const [name = ''] = await memory.names('leases/');
    const body = JSON.parse(Buffer.from(await memory.driver.get(name)).toString('utf8'));
    assert.equal(body.holder.pid, process.pid);
    const { pid } = spawnSync(process.execPath, ['--version']);
    const place = (where: string) => Buffer.from(JSON.stringify({ ...body, holder: { place: where, pid } }));
    await memory.driver.put('leases/gone/00000001', [place(body.holder.place)], { ifAbsent: true });
    // The same number on another machine says nothing.
    await memory.driver.put('leases/else/00000001', [place('other host')], { ifAbsent: true });
    assert.deepEqual((await liveRuns()).sort(), [lease.run, 'else'].sort());
    await liveLeases(memory.driver, { removeDead: true });
    assert.deepEqual(await memory.names('leases/gone'), []);
    assert.equal((await memory.names('leases/else')).length, 1);
    await lease.release();
  });

  test('damaged – still says that someone is alive, for ten minutes', async () => {
    await memory.driver.put('leases/bad/00000001', [Buffer.from('{"kind":"ba')], { ifAbsent: true });
    assert.deepEqual(
      (await liveLeases(memory.driver)).map(({ run, kind, began }) => [run, kind, began.getTime()]),
      [['bad', 'unknown', 0]],
    );
    memory.clock.advance(leaseLifetimeMs + 1);
    assert.deepEqual(await liveRuns(), []);
  });

  test('store away for half the lifetime – a commit is refused', async () => {
    const faults = [{ on: 'put' as const, nth: 2, times: 1000, error: 'STORAGE_UNAVAILABLE' as const }];
    const lease = await acquire(withFaults(memory.driver, { calls: faults }));
    await pass(4 * minute);
    lease.assertLive();
    await pass(minute);
    assert.throws(() => lease.assertLive(), hasCode('BACKUP_EXPIRED_LEASE'));
    await lease.release();
  });

  test('store away for a while – renewed when it is back', async () => {
    const faults = [{ on: 'put' as const, nth: 2, times: 3, error: 'STORAGE_UNAVAILABLE' as const }];
    const lease = await acquire(withFaults(memory.driver, { calls: faults }));
    await pass(20 * minute);
    lease.assertLive();
    assert.deepEqual(await liveRuns(), [lease.run]);
    await lease.release();
  });

  test('answer to a renewal lost – the next renewals succeed', async () => {
    const faults = [
      { on: 'put' as const, nth: 3, error: 'STORAGE_UNAVAILABLE' as const, errorWhen: 'after' as const },
    ];
    const lease = await acquire(withFaults(memory.driver, { calls: faults }));
    await pass(20 * minute);
    lease.assertLive();
    assert.deepEqual(await liveRuns(), [lease.run]);
    await lease.release();
    assert.deepEqual(await memory.names('leases/'), []);
  });

  test('remove a backup that a live lease uses – refused; after release it goes', async () => {
    await memory.commit('one', []);
    const lease = await acquire();
    await assert.rejects(memory.repository.remove('db', 'one'), hasCode('REPOSITORY_BUSY'));
    assert.equal((await memory.repository.backups()).length, 1);
    await lease.release();
    await memory.repository.remove('db', 'one');
    assert.deepEqual(await memory.repository.backups(), []);
    assert.deepEqual((await memory.repository.reconcileLedger()).lost, [], 'a removal is no loss');
  });

  test('remove a backup whose user has died – goes', async () => {
    await memory.commit('one', []);
    await acquire();
    memory.clock.advance(leaseLifetimeMs + 1);
    await memory.repository.remove('db', 'one');
    assert.deepEqual(await memory.repository.backups(), []);
  });
});
