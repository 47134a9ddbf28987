import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeFixture, query, withClient } from '../../../test/backup-fixture.ts';
import { startLoad, untilListened, untilVisited } from '../../../test/busy-server.ts';
import { startWalStream } from '../../../test/wal-stream.ts';
import { assertNoGap, busyServer, loseSlotBetweenVisits } from '../../../test/wal-visits.ts';
import { readSlots } from './slot.ts';

test('a busy server – is visited, other streams are kept off; a calm one is listened to', async () => {
  await using server = await busyServer(16);
  await using fixture = await makeFixture();
  // A name that is too long to be claimed as it is.
  const slot = 'helvino'.padEnd(63, '_x');
  await using stream = await startWalStream(fixture, server, { intervalMs: 500, slot });
  await stream.upToNow();
  const load = startLoad(server);
  await untilVisited(server);
  const second = await startWalStream(fixture, server, { slot });
  await assert.rejects(second.done, /another stream uses the replication slot helvino/);
  const state = await withClient(server, async (client) => (await readSlots(client, slot))[0]);
  assert.equal(state?.active, true);
  await load.end();
  await stream.upToNow();
  await untilListened(server);
  await assertNoGap(fixture);
});

test('PostgreSQL 17, the slot is lost between two visits – made anew, no gap', () =>
  loseSlotBetweenVisits(17));

test('synchronous_standby_names comes to name the stream – it stays, and warns once', async () => {
  // The load does not wait: it would make the server calm.
  await using server = await busyServer(18, { synchronous_commit: 'local' });
  await using fixture = await makeFixture();
  await using stream = await startWalStream(fixture, server, { intervalMs: 500 });
  await stream.upToNow();
  const load = startLoad(server);
  await untilVisited(server);
  await query(
    server,
    `alter system set synchronous_standby_names = 'ANY 1 (other, helvino)'`,
    'select pg_reload_conf()',
  );
  await untilListened(server);
  await load.end();
  assert.equal(
    stream.notes.filter((note) => /^warn: synchronous_standby_names has helvino/.test(note)).length,
    1,
  );
});
