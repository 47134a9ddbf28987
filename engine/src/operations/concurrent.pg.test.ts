import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { query, startRestored } from '../../test/backup-fixture.ts';
import { assertNoGarbage, type Case, CrashLab, reopen, runChild, treeOf } from '../../test/crash-fixture.ts';
import { serverFolder, type TestServer } from '../../test/pg-server.ts';
import { systemClock } from '../base/clock.ts';
import { HelvinoError } from '../base/errors.ts';
import { applyCollect, type Manifest, openRepository, planCollect } from '../repository/index.ts';
import type { StorageDriver } from '../storage/index.ts';
import { hasCode } from '../storage/testing/contract-tools.ts';
import { withFaults } from '../storage/testing/faulty-driver.ts';

const noGrace = { graceMs: 0 };

describe('several runs at once on one repository', { concurrency: 1 }, () => {
  let lab: CrashLab;
  let template: Case;
  let one: Case;

  before(async () => {
    lab = await CrashLab.open();
    await query(
      lab.server,
      'create table t as select i, md5(i::text) from generate_series(1, 20000) i',
      'checkpoint',
    );
    template = await lab.newCase();
    await template.backup();
  });
  after(() => lab[Symbol.asyncDispose]());
  beforeEach(async () => {
    if (one) await rm(one.root, { recursive: true });
    await query(lab.server, 'update t set i = i + 1 where i % 100 = 0', 'checkpoint');
    one = await lab.copyOf(template);
  });

  /** The same repository, with `put` watched: called before an object is stored. */
  async function watched(before: (name: string) => Promise<void> | void): Promise<Case> {
    const { driver, ring } = one.repository;
    const put: StorageDriver['put'] = async (name, body, how) => {
      await before(name);
      return driver.put(name, body, how);
    };
    const repository = await openRepository({ ...withFaults(driver, {}), put }, { ring });
    return Object.assign(Object.create(one) as Case, { repository });
  }

  /** Every backup restores whole and holds what the source does, verify is clean, garbage goes. */
  async function assertAllGood(backups: number): Promise<void> {
    const names = await one.repository.backups();
    assert.equal(names.length, backups);
    const report = await one.verify();
    assert.equal(report.verdict, 'passed', JSON.stringify(report));
    await one.collect();
    await assertNoGarbage(one, 'afterwards');
    const { rows } = await content(lab.server);
    for (const [i, { database, id }] of names.entries()) {
      const manifest = await one.repository.manifest(database, id);
      const { size, found } = await restored(manifest);
      assert.equal(size - 1, manifest.totals.files, 'all files, and recovery.signal');
      // The source was changed since the template's.
      if (i > 0) assert.deepEqual(found, rows);
    }
  }

  /** What every backup but the template's must hold: nothing was changed since. */
  const content = (server: TestServer) => query(server, 'select count(*), sum(hashtext(t::text)) from t');

  async function restored(manifest: Manifest) {
    const directory = await serverFolder();
    try {
      await one.restore(manifest, directory);
      const { size } = treeOf(directory);
      await using server = await startRestored(directory, 18);
      return { size, found: (await content(server)).rows };
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  test('two backups of one database, in two processes – both are committed and good', async () => {
    const outcomes = await Promise.all([1, 2].map(() => runChild(one, { action: 'backup' })));
    assert.deepEqual(
      outcomes.map(({ outcome }) => outcome),
      ['ok', 'ok'],
    );
    await assertAllGood(3);
  });

  test('three backups in one process, full and incremental – all are good', async () => {
    await Promise.all([one.backup(), one.backup({ kind: 'full' }), one.backup({ kind: 'incremental' })]);
    await assertAllGood(4);
  });

  test('collection without grace in a loop while backups run – nothing that they need goes', async () => {
    // Something to collect all the time.
    const died = await runChild(
      one,
      { action: 'backup' },
      {
        plan: { calls: [{ on: 'put', prefix: 'backups/', nth: 1, kill: 'before' }] },
      },
    );
    assert.equal(died.signal, 'SIGKILL');
    let running = true;
    let rounds = 0;
    const other = await reopen(one);
    const loop = (async () => {
      for (; running; rounds++) {
        const plan = await planCollect(other.repository, noGrace);
        await applyCollect(other.repository, plan, noGrace);
      }
    })();
    try {
      for (let i = 0; i < 3; i++) await one.backup();
      await Promise.all([one.backup({ kind: 'full' }), one.backup({ kind: 'incremental' })]);
    } finally {
      running = false;
      await loop;
    }
    assert.ok(rounds > 10, `${rounds} rounds`);
    await assertAllGood(6);
  });

  test('collection at each object that a backup stores – nothing that it needs goes', async () => {
    let collections = 0;
    const other = await reopen(one);
    const careful = await watched(async (name) => {
      if (name.startsWith('leases/')) return;
      await other.collect();
      collections++;
    });
    await careful.backup({ kind: 'incremental' });
    assert.ok(collections >= 4, `${collections} collections`);
    await assertAllGood(2);
  });

  test('a backup stores its manifest – under a live lease that names the parent', async () => {
    const [parent] = await one.repository.backups();
    const seen: string[][] = [];
    const other = await reopen(one);
    const watching = await watched(async (name) => {
      if (!name.startsWith('backups/') && !name.startsWith('packs/')) return;
      // Time enough for everything that would let go of the lease too early.
      await sleep(200);
      const leases = await other.names('leases/');
      await assert.rejects(other.repository.remove('main', parent!.id), hasCode('REPOSITORY_BUSY'));
      seen.push([name.split('/')[0]!, String(leases.length)]);
    });
    await watching.backup({ kind: 'incremental' });
    assert.deepEqual(seen.at(-1), ['backups', '1']);
    assert.ok(seen.length >= 3);
    await one.repository.remove('main', parent!.id);
    await assertAllGood(1);
  });

  test('the parent is removed while an incremental is running, by force – refused, and the next is good', async () => {
    const [parent] = await one.repository.backups();
    const other = await reopen(one);
    let gone = false;
    const losing = await watched(async (name) => {
      if (gone || !name.startsWith('packs/')) return;
      gone = true;
      // As a removal that looked at the leases just before this run began.
      await other.repository.driver.remove(`ledger/main/${parent!.id}`);
      await other.repository.driver.remove(`backups/main/${parent!.id}`);
      for (let i = 0; i < 3; i++) await other.collect();
    });
    await assert.rejects(losing.backup({ kind: 'incremental' }), hasCode('REPOSITORY_BUSY'));
    assert.equal(gone, true);
    await one.backup();
    await assertAllGood(1);
  });

  test('a pack that the backup shares is marked before it commits – not committed, REPOSITORY_BUSY', async () => {
    const [parent] = await one.repository.backups();
    const { packs } = await one.repository.manifest('main', parent!.id);
    let marked = false;
    const marking = await watched(async (name) => {
      if (marked || !name.startsWith('packs/')) return;
      marked = true;
      for (const { id } of packs) await one.repository.driver.put(`trash/${id}`, [], { ifAbsent: true });
    });
    await assert.rejects(marking.backup({ kind: 'incremental' }), hasCode('REPOSITORY_BUSY'));
    await one.collect();
    await one.backup({ kind: 'incremental' });
    await assertAllGood(2);
  });

  test('the lease has expired before the commit – not committed, BACKUP_EXPIRED_LEASE', async () => {
    let slept = 0;
    const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + slept };
    const sleeping = await watched((name) => {
      // As a machine that was suspended for six minutes.
      if (name.startsWith('packs/')) slept = 6 * 60_000;
    });
    await assert.rejects(sleeping.backup({ clock }), (thrown: HelvinoError) => {
      return (
        thrown instanceof HelvinoError &&
        thrown.code === 'BACKUP_EXPIRED_LEASE' &&
        /360 s ago|36\d s ago/.test(thrown.message)
      );
    });
    assert.deepEqual(await one.names('leases/'), []);
    await assertAllGood(1);
  });

  test('two collections in two processes at once – both end well, all garbage is gone', async () => {
    for (let i = 0; i < 2; i++) {
      const { id } = await one.backup({ kind: 'full' });
      await one.repository.remove('main', id);
    }
    const outcomes = await Promise.all([1, 2].map(() => runChild(one, { action: 'collect' })));
    assert.deepEqual(
      outcomes.map(({ outcome }) => outcome),
      ['ok', 'ok'],
    );
    await assertAllGood(1);
  });
});
