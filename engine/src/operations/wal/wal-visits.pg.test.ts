import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeFixture, query } from '../../../test/backup-fixture.ts';
import { startLoad, untilListened, untilVisited } from '../../../test/busy-server.ts';
import { startWalStream } from '../../../test/wal-stream.ts';
import { busyServer, loseSlotBetweenVisits } from '../../../test/wal-visits.ts';

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
