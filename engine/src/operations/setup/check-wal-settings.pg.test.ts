import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeFixture, query } from '../../../test/backup-fixture.ts';
import { untilSo } from '../../../test/failover.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { enoughRoom, tightConfig, writeMuch } from '../../../test/slot-loss.ts';
import { startWalStream } from '../../../test/wal-stream.ts';
import { resolveConnection } from '../../postgres/index.ts';
import { checkServer, type Finding } from './check-server.ts';

const slot = 'helvino';

interface Said {
  readonly ready: boolean;
  /** Fails unless it is said, in this state and with these words. */
  is(name: string, state: Finding['state'], detail: RegExp, hint?: RegExp): Finding;
  /** The names of what is said. */
  readonly names: readonly string[];
}

async function check(server: TestServer, settings = ''): Promise<Said> {
  const connection = await resolveConnection({ url: `${server.url}${settings}` }, {});
  const { ready, findings } = await checkServer(connection, { slot, streamName: slot });
  return {
    ready,
    names: findings.map(({ name }) => name),
    is(name, state, detail, hint) {
      const found = findings.filter((finding) => finding.name === name);
      assert.equal(found.length, 1, `${name} in ${JSON.stringify(findings)}`);
      const [finding] = found as [Finding];
      assert.equal(finding.state, state, JSON.stringify(finding));
      assert.match(finding.detail, detail);
      if (hint) assert.match(finding.hint ?? '', hint);
      else assert.equal(finding.hint, undefined);
      return finding;
    },
  };
}

async function restart(server: TestServer, ...statements: string[]): Promise<void> {
  await query(server, ...statements);
  await server.stop();
  await server.start();
}

/** The SQL in a hint: what one does who follows it. */
function sqlOf({ hint }: Finding): string[] {
  return [...(hint ?? '').matchAll(/((?:ALTER SYSTEM|SELECT pg_)[^;]*)/g)].map(([sql]) => sql);
}

/** Bytes of WAL that a slot is said to keep. */
function kept({ detail }: Finding): number {
  const [, number, unit] = /keeps ([\d.]+) (B|KiB|MiB|GiB) of WAL/.exec(detail) ?? [];
  assert.ok(number && unit, detail);
  return Number(number) * 1024 ** ['B', 'KiB', 'MiB', 'GiB'].indexOf(unit);
}

const slotStatus = async (server: TestServer) =>
  (await query<{ status: string }>(server, 'select wal_status as status from pg_replication_slots')).rows[0]
    ?.status;

test('wal_level minimal, no senders, no slots – each is named; what the hints say makes it ready', async () => {
  await using server = await startTestServer({
    major: 14,
    config: { wal_level: 'minimal', max_wal_senders: 0, max_replication_slots: 0 },
  });
  const bad = await check(server);
  assert.equal(bad.ready, false);
  const followed = [
    bad.is('wal_level', 'missing', /wal_level is minimal.* none can be taken/, /restart the server/),
    bad.is('max_wal_senders', 'missing', /^max_wal_senders is 0\b/, /restart the server/),
    bad.is('max_replication_slots', 'advice', /no replication slots.*wal stream/, /restart the server/),
  ];
  bad.is('replication', 'missing', /max_wal_senders.*currently 0/, /max_wal_senders.*restart/);

  await restart(server, ...followed.flatMap(sqlOf));
  const good = await check(server);
  assert.equal(good.ready, true);
  good.is('wal_level', 'good', /^replica:/);
  good.is('max_wal_senders', 'good', /^0 of 10 in use/);
  good.is('replication', 'good', /may stream base backups/);
  assert.ok(!good.names.includes('max_replication_slots'));
});

test('few senders and slots – those in use are counted: enough, too few to spare, and none left for a backup', async () => {
  await using server = await startTestServer({
    major: 18,
    initdbArgs: ['--wal-segsize=1'],
    config: { max_replication_slots: 2 },
  });
  await using fixture = await makeFixture();
  (await check(server)).is('max_wal_senders', 'good', /^0 of 10 in use/);
  {
    await using stream = await startWalStream(fixture, server);
    await stream.upToNow();
    const said = await check(server);
    assert.equal(said.ready, true);
    said.is('max_wal_senders', 'good', /^1 of 10 in use/);
    // The stream's own, and the one that keeps other streams off it.
    said.is('max_replication_slots', 'advice', /all 2 replication slots are in use/, /= 12; .*restart/);
  }
  await restart(server, 'alter system set max_wal_senders = 2');
  const few = await check(server);
  assert.equal(few.ready, true);
  few.is('max_wal_senders', 'good', /^0 of 2 in use/);
  {
    await using stream = await startWalStream(fixture, server);
    await stream.upToNow();
    (await check(server)).is('max_wal_senders', 'good', /^1 of 2 in use/);
    // One is enough for a backup.
    await fixture.takeBackup(server);
  }

  await restart(server, 'alter system set max_wal_senders = 1');
  (await check(server)).is('max_wal_senders', 'advice', /^only 1 of 1 are free/, /max_wal_senders = 10/);
  await using stream = await startWalStream(fixture, server);
  await stream.upToNow();
  const none = await check(server);
  assert.equal(none.ready, false);
  none.is('max_wal_senders', 'advice', /^only 0 of 1 are free/, /max_wal_senders = 10; then restart/);
  none.is('replication', 'missing', /max_wal_senders.*currently 1/, /max_wal_senders.*restart/);
});

test('max_slot_wal_keep_size – without it the disk may fill; with it a gap may come, and after how long is said', async () => {
  await using server = await startTestServer({ major: 17 });
  const name = 'max_slot_wal_keep_size';
  const without = await check(server);
  assert.equal(without.ready, true);
  const advice = without.is(
    name,
    'advice',
    /without a limit.*WAL piles up until the disk of the server is full/,
    /'20GB'.*wal status/,
  );
  // A view in front of the server's own: the real one says nothing before it is an hour old.
  await query(
    server,
    'create schema front',
    `create view front.pg_stat_wal as
       select 2 * 3600 * 1048576::numeric as wal_bytes, now() - interval '2 hours' as stats_reset`,
  );
  const known = `?options=${encodeURIComponent('-c search_path=front,pg_catalog')}`;
  (await check(server, known)).is(name, 'advice', /WAL piles up \(1\.00 MiB a second on average\)/, /'20GB'/);

  await query(server, ...sqlOf(advice));
  (await check(server)).is(
    name,
    'good',
    /keeps up to 20\.0 GiB of WAL for us; .*the disk does not fill.*gap/,
  );
  await query(server, `alter system set ${name} = '600MB'`, 'select pg_reload_conf()');
  const detail = /up to 600 MiB of WAL for us, some 10 min 00 s at 1\.00 MiB a second on average; /;
  (await check(server, known)).is(name, 'good', detail);
  await query(server, `alter system set ${name} = 0`, 'select pg_reload_conf()');
  (await check(server)).is(name, 'advice', /keeps nothing for a slot/, /'20GB'/);
});

test('our slot – not there, used, left: what it keeps of the disk grows until it is dropped, as the hint says', async () => {
  await using server = await startTestServer({
    major: 14,
    initdbArgs: ['--wal-segsize=1'],
    config: { max_wal_size: '2MB', min_wal_size: '2MB' },
  });
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int, body text)');
  const name = `slot ${slot}`;
  const walOnDisk = async () =>
    (await query<{ bytes: number }>(server, 'select sum(size)::int as bytes from pg_ls_waldir()')).rows[0]!
      .bytes;
  (await check(server)).is(name, 'advice', /is not there: no WAL stream has run/, /`helvino wal stream`/);

  await using stream = await startWalStream(fixture, server);
  await stream.upToNow();
  (await check(server)).is(name, 'good', /^a stream uses it; keeps /);
  await stream.end();
  const left = async () =>
    (await check(server)).is(
      name,
      'advice',
      /^no stream uses it: it keeps .*, and more with each write$/,
      /start `helvino wal stream`;.* pg_drop_replication_slot\('helvino'\)/,
    );
  await untilSo(server, 'select not bool_or(active) as so from pg_replication_slots');
  assert.ok(kept(await left()) < 1 << 20);
  await writeMuch(server, 1);
  const first = kept(await left());
  assert.ok(first > 6 << 20, `${first}`);
  assert.ok((await walOnDisk()) >= first * 0.99, 'it is on the disk indeed');
  await writeMuch(server, 200_001);
  const full = await left();
  assert.ok(kept(full) > first * 1.9, `${first}, then ${kept(full)}`);

  await query(server, ...sqlOf(full), 'checkpoint');
  assert.ok((await walOnDisk()) < first, 'the disk is free again');
  (await check(server)).is(name, 'advice', /is not there/, /`helvino wal stream`/);
});

test('our slot has lost WAL – not ready: a gap; a stream makes the slot anew', async () => {
  await using server = await startTestServer({
    major: 18,
    initdbArgs: ['--wal-segsize=1'],
    config: tightConfig,
  });
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int, body text)');
  await using first = await startWalStream(fixture, server);
  await first.upToNow();
  await first.end();
  await writeMuch(server, 1);
  assert.equal(await slotStatus(server), 'lost');
  const said = await check(server);
  assert.equal(said.ready, false);
  said.is('max_slot_wal_keep_size', 'good', /keeps up to 2\.00 MiB of WAL/);
  said.is(
    `slot ${slot}`,
    'missing',
    /has lost WAL that was not stored \(max_slot_wal_keep_size\): there is a gap/,
    /start `helvino wal stream`.*then take a backup/,
  );
  await query(server, ...enoughRoom);
  await using second = await startWalStream(fixture, server);
  await second.upToNow();
  const again = await check(server);
  assert.equal(again.ready, true);
  again.is(`slot ${slot}`, 'good', /^a stream uses it; keeps /);
});

test("another's slot that nobody uses – named from a GiB on, until the server gives it up", async () => {
  await using server = await startTestServer({
    major: 18,
    initdbArgs: ['--wal-segsize=64'],
    config: { wal_init_zero: 'off', wal_recycle: 'off', max_wal_size: '4GB' },
  });
  await query(server, `select pg_create_physical_replication_slot('theirs', true)`, 'create table t (n int)');
  const name = 'slot theirs';
  for (let i = 0; i < 15; i++) await query(server, 'insert into t values (1)', 'select pg_switch_wal()');
  assert.ok(!(await check(server)).names.includes(name), 'not quite a GiB');
  for (let i = 0; i < 2; i++) await query(server, 'insert into t values (1)', 'select pg_switch_wal()');
  const much = (await check(server)).is(
    name,
    'advice',
    /^nobody uses it, and it keeps 1\.\d+ GiB of WAL on the server's disk/,
    /pg_drop_replication_slot\('theirs'\)/,
  );
  assert.ok(kept(much) > 1 << 30);
  // A reload reaches the checkpointer later.
  await restart(server, `alter system set max_slot_wal_keep_size = '64MB'`);
  await query(server, 'checkpoint');
  assert.equal(await slotStatus(server), 'lost');
  assert.ok(!(await check(server)).names.includes(name), 'it keeps nothing any more');
});
