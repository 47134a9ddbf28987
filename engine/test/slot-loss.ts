/** A server that gives the slot of a stream up. */
import assert from 'node:assert/strict';
import { walStatus } from '../src/operations/wal/status.ts';
import { makeFixture, query } from './backup-fixture.ts';
import { startTestServer, type TestMajor, type TestServer } from './pg-server.ts';
import { beforeReading, hastyClock, rowsAtLatest, startWalStream } from './wal-stream.ts';

/** So that the slot of a stream that is away is soon lost. */
export const tightConfig = {
  max_slot_wal_keep_size: '2MB',
  max_wal_size: '2MB',
  min_wal_size: '2MB',
  wal_keep_size: 0,
};

export const enoughRoom = [`alter system set max_slot_wal_keep_size = '1GB'`, 'select pg_reload_conf()'];

/** More WAL than the server keeps; then what is over goes. */
export async function writeMuch(server: TestServer, first: number): Promise<void> {
  for (let i = 0; i < 6; i++)
    await query(
      server,
      `insert into log select ${first} + ${i} * 20000 + g, md5(g::text) from generate_series(1, 20000) g`,
    );
  await query(server, 'checkpoint');
  await query(server, 'select pg_switch_wal()');
  await query(server, 'checkpoint');
}

/** The slot is lost while the stream starts, and again when it was made anew: a typed gap, which a backup closes. */
export async function loseSlotWhileStarting(major: TestMajor): Promise<void> {
  await using server = await startTestServer({ major, initdbArgs: ['--wal-segsize=1'], config: tightConfig });
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int, body text)');
  const first = await startWalStream(fixture, server);
  await fixture.takeBackup(server);
  await first.upToNow();
  await first.end();

  const { onPhase } = beforeReading(fixture, 2, async (left) => {
    await writeMuch(server, 1);
    if (left === 0) await query(server, ...enoughRoom);
  });
  const notes: string[] = [];
  await using second = await startWalStream(fixture, server, {
    clock: hastyClock,
    progress: {
      phase: onPhase,
      advance() {},
      total() {},
      note: (level, message) => void notes.push(`${level}: ${message}`),
    },
  });
  await second.upToNow();
  assert.match(notes.join('\n'), /warn: the replication slot helvino was lost while the stream ran/);
  assert.equal(notes.filter((note) => /had lost WAL .* made anew/.test(note)).length, 2);
  await fixture.takeBackup(server);
  await query(server, `insert into log values (0, 'after')`);
  await second.upToNow();
  const { gaps } = await walStatus(fixture.repository, 'main');
  assert.deepEqual(
    gaps.map(({ reason, closedBy }) => [reason, closedBy !== undefined]),
    [['slot-lost', true]],
  );
  assert.equal(await rowsAtLatest(fixture, major), 240_001);
}
