/** What a plan promises is asked without harm, and an answer that says nothing does not pass. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { query } from '../../../test/backup-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { HelvinoError } from '../../base/errors.ts';
import { type ConnectionParams, resolveConnection } from '../../postgres/index.ts';
import { checkAssertion, checkHeartbeat } from './check-promises.ts';
import type { Assertion } from './exercise.ts';

let server: TestServer;
let connection: ConnectionParams;
const now = new Date('2026-11-26T12:00:00Z');

before(async () => {
  server = await startTestServer({ major: 18 });
  connection = await resolveConnection({ url: server.url }, {});
  await query(server, 'create table t as select 1 as i');
});

after(async () => {
  await server?.[Symbol.asyncDispose]();
});

async function assertion(sql: string, expect: Assertion['expect'] = true): Promise<string> {
  const { state, detail } = await checkAssertion(connection, {
    name: 'a',
    database: 'postgres',
    sql,
    expect,
  });
  return `${state}: ${detail}`;
}

async function heartbeat(sql: string, more: { until?: boolean } = {}): Promise<string> {
  const input = {
    heartbeat: { database: 'postgres', sql, maxAgeSeconds: 3600 },
    wanted: now,
    until: false,
    now,
  };
  const { state, detail, loss } = await checkHeartbeat(connection, { ...input, ...more });
  return `${state}: ${detail}${loss ? ` (${loss.seconds})` : ''}`;
}

test('an assertion that ends its transaction, to write – refused, and nothing is written', async () => {
  for (const sql of [
    'commit; delete from t; select true',
    'set transaction read write; delete from t; select true',
    `select set_config('transaction_read_only', 'off', true) = 'off'; delete from t`,
  ])
    assert.match(await assertion(sql), /^failed: cannot insert multiple commands/);
  assert.match(await assertion('delete from t returning true'), /^failed: .*read-only transaction/);
  assert.deepEqual((await query(server, 'select i from t')).rows, [{ i: 1 }]);
});

test('many rows, none, several columns, a long text – failed, with few words and without reading on', async () => {
  const begun = performance.now();
  assert.equal(
    await assertion(`select repeat('x', 1000) from generate_series(1, 50000000)`),
    'failed: it answers more than one row, not one value',
  );
  assert.ok(performance.now() - begun < 30_000);
  assert.equal(
    await assertion('select 1 where false'),
    'failed: it answers no row of 1 columns, not one value',
  );
  assert.equal(await assertion('select 1, 2'), 'failed: it answers one row of 2 columns, not one value');
  assert.ok((await assertion(`select repeat('x', 1000000)`)).length < 300);
});

test('a value that is no number – is not the number that it can be read as', async () => {
  assert.match(await assertion(`select array[]::int[]`, 0), /^failed/);
  assert.match(await assertion(`select ' '`, 0), /^failed/);
  assert.match(await assertion(`select true`, { min: 1 }), /^failed/);
  assert.match(await assertion(`select 1.0::numeric`, 1), /^passed/);
});

test('a heartbeat without a zone – taken for UTC, whatever the zone of this machine', async () => {
  const zone = process.env.TZ;
  process.env.TZ = 'America/New_York';
  try {
    for (const type of ['timestamp', 'text', 'timestamptz'])
      assert.match(
        await heartbeat(`select '2026-11-26 11:30:00${type === 'timestamptz' ? '+00' : ''}'::${type}`),
        /^passed: .*30 min before the wanted moment.* \(1800\)$/,
        type,
      );
  } finally {
    if (zone === undefined) delete process.env.TZ;
    else process.env.TZ = zone;
  }
});

test('a heartbeat that is to come – proves nothing; after a target it is a failure', async () => {
  assert.match(
    await heartbeat(`select '2099-01-01Z'::timestamptz`),
    /^unproven: .* is to come: a clock is wrong, so it proves no recovery point$/,
  );
  assert.match(
    await heartbeat(`select '2099-01-01Z'::timestamptz`, { until: true }),
    /too much was recovered/,
  );
  assert.match(await heartbeat(`select '2026-11-26 12:00:04Z'::timestamptz`), /^passed/);
});

test('a heartbeat late by one second – failed, and the words say by how much', async () => {
  assert.match(
    await heartbeat(`select '2026-11-26 10:59:59Z'::timestamptz`),
    /^failed: .* 3601 s before the wanted moment; at most 3600 s is allowed/,
  );
});

test('no heartbeat – failed with what the server says, which is no bug of ours', async () => {
  assert.match(
    await heartbeat('select max(i)::text from t where false'),
    /^failed: there is no time .*: null/,
  );
  assert.match(await heartbeat(`select 'infinity'::timestamptz`), /^failed: there is no time/);
  await assert.rejects(
    heartbeat('select max(at) from nowhere'),
    (thrown) => thrown instanceof HelvinoError && thrown.code === 'SERVER_ERROR',
  );
});
