import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFixture, query } from '../../../test/backup-fixture.ts';
import { startTestServer } from '../../../test/pg-server.ts';
import { startWalStream } from '../../../test/wal-stream.ts';
import { backupFacts } from '../../catalog/index.ts';
import { chooseTarget } from './choose-target.ts';

test('a random moment, with a gap in the window – always one that can be recovered', async () => {
  await using server = await startTestServer({
    major: 18,
    initdbArgs: ['--wal-segsize=1'],
    config: { min_wal_size: '2MB', max_wal_size: '2MB' },
  });
  await using fixture = await makeFixture();
  await query(server, 'create table t (i int)');
  const first = await startWalStream(fixture, server);
  await fixture.takeBackup(server);
  await query(server, 'insert into t values (1)');
  await first.upToNow();
  await first.end();
  await query(server, `select pg_drop_replication_slot('helvino')`);
  // Most of the window is in the gap.
  await sleep(3000);
  for (let i = 0; i < 4; i++)
    await query(server, 'insert into t values (2)', 'select pg_switch_wal()', 'checkpoint');
  await using second = await startWalStream(fixture, server);
  const newer = await fixture.takeBackup(server);
  await sleep(300);
  await query(server, 'insert into t values (3)');
  await second.upToNow();
  const { repository, identities } = fixture;
  const input = { repository, identities, database: 'main', asked: 'random', windowSeconds: 86_400 };
  for (let i = 0; i < 20; i++) {
    const now = new Date();
    const { target, manifest } = await chooseTarget({ ...input, now, signal: new AbortController().signal });
    assert.equal(manifest.id, newer.id);
    assert.ok(Date.parse(target.time!) >= Date.parse(backupFacts(newer).ended!), target.time!);
  }
});
