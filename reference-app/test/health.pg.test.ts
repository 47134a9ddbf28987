import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import type { TestServer } from '../../engine/test/pg-server.ts';
import { copySeeded, freePort, RunningApp, sql, startDatabases } from './fixture.ts';

let server: TestServer;

before(async () => {
  server = await startDatabases();
});

after(() => server?.[Symbol.asyncDispose]());

async function answers(app: RunningApp) {
  const begun = performance.now();
  const { status, body } = await app.ask('/health');
  return { status, body, seconds: (performance.now() - begun) / 1000 };
}

test('a good database – 200: reachable, schema current, not read-only', async () => {
  await using app = await RunningApp.start(await copySeeded(server, 'good'));
  const { status, body } = await answers(app);
  const { database, schema, ...rest } = body;
  assert.deepEqual([status, rest], [200, { status: 'ok', readOnly: false, reasons: [] }]);
  assert.match(database.version, /^18/);
  assert.deepEqual([schema.current, schema.applied.length, schema.pending], [true, 2, []]);
});

const histories = {
  'a migration that is not applied': [
    `delete from _prisma_migrations where migration_name like '2026021%'`,
    /^migrations not applied: 20260212101500_threads_tags_audit$/,
  ],
  'no history at all': ['drop table _prisma_migrations', /not applied: 20260105090000_init, 2026021/],
  'a migration that failed': [
    `update _prisma_migrations set finished_at = null where migration_name like '2026021%'`,
    /^migrations failed: 2026021/,
  ],
  'a migration that was applied with another text': [
    `update _prisma_migrations set checksum = 'x' where migration_name like '2026021%'`,
    /^migrations applied with another text: 2026021/,
  ],
  'a database that is newer': [
    `insert into _prisma_migrations (id, checksum, migration_name, finished_at) values ('x', 'x', '2027_new', now())`,
    /^migrations not known here: 2027_new$/,
  ],
} as const;

for (const [index, [name, [change, reason]]] of Object.entries(histories).entries())
  test(`${name} – 503, and which`, async () => {
    const database = `history_${index}`;
    await using app = await RunningApp.start(await copySeeded(server, database));
    await sql(server, database, change);
    const { status, body } = await answers(app);
    assert.deepEqual(
      [status, body.status, body.schema.current, body.database.reachable],
      [503, 'unavailable', false, true],
    );
    assert.match(body.reasons.join('\n'), reason);
  });

test('a migration that was rolled back and applied again – 200', async () => {
  await using app = await RunningApp.start(await copySeeded(server, 'again'));
  await sql(
    server,
    'again',
    `insert into _prisma_migrations (id, checksum, migration_name, rolled_back_at)
     select 'x' || migration_name, 'x', migration_name, now() from _prisma_migrations`,
  );
  assert.equal((await answers(app)).status, 200);
});

test('a database that takes no writes – 200 and read-only; writes answer 503, reads go on', async () => {
  const url = await copySeeded(server, 'read_only');
  await sql(server, 'read_only', 'alter database read_only set default_transaction_read_only = on');
  await using app = await RunningApp.start(url);
  const { status, body } = await answers(app);
  assert.deepEqual([status, body.readOnly, body.reasons], [200, true, ['the database is read-only']]);
  const refused = await app.post('/conversations', { subject: 'x' });
  assert.deepEqual([refused.status, refused.body.error.code], [503, 'DATABASE_READ_ONLY']);
  assert.deepEqual((await app.setWriteEnabled(false)).body.error.code, 'DATABASE_READ_ONLY');
  assert.equal((await app.ask('/conversations')).status, 200);
});

test('WRITE_ENABLED=false – 200 and read-only; nobody writes, not even settings', async () => {
  await using app = await RunningApp.start(await copySeeded(server, 'switched'), { writeEnabled: false });
  const { status, body } = await answers(app);
  assert.deepEqual([status, body.readOnly, body.reasons], [200, true, ['WRITE_ENABLED is false']]);
  assert.equal((await app.post('/conversations', { subject: 'x' })).body.error.code, 'WRITES_DISABLED');
  assert.equal((await app.setWriteEnabled(false)).body.error.code, 'WRITES_DISABLED');
  assert.equal((await app.ask('/conversations')).status, 200);
});

test('the database goes and comes back – 503 with the reason at once, then 200, by the same process', async () => {
  await using app = await RunningApp.start(await copySeeded(server, 'away'));
  assert.equal((await answers(app)).status, 200);
  assert.equal((await app.ask('/conversations')).status, 200);
  await server.stop('immediate');
  const gone = await answers(app);
  assert.deepEqual([gone.status, gone.body.database], [503, { reachable: false }]);
  assert.match(gone.body.reasons[0], /^the database does not answer: .+/);
  const refused = await app.ask('/conversations');
  assert.deepEqual([refused.status, refused.body.error.code], [503, 'DATABASE_UNAVAILABLE']);
  const written = await app.post('/conversations', { subject: 'x' });
  assert.deepEqual([written.status, written.body.error?.code], [503, 'DATABASE_UNAVAILABLE']);
  await server.start();
  assert.equal((await answers(app)).status, 200);
  assert.equal((await app.ask('/conversations')).status, 200);
});

test('a database that was never there – the application starts and says so', async () => {
  await using app = await RunningApp.start(`postgresql://postgres@localhost:${await freePort()}/nothing`);
  const { status, body } = await answers(app);
  assert.equal(status, 503);
  assert.match(body.reasons[0], /ECONNREFUSED/);
});

test('a database that takes the connection and says nothing – 503 within seconds', async (t) => {
  const sockets: Socket[] = [];
  const mute = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
  await once(mute, 'listening');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    mute.close();
  });
  const { port } = mute.address() as { port: number };
  await using app = await RunningApp.start(`postgresql://postgres@127.0.0.1:${port}/x`);
  const { status, body, seconds } = await answers(app);
  assert.equal(status, 503);
  assert.match(body.reasons[0], /^the database does not answer: .*time/);
  assert.ok(seconds < 20, `${seconds} s`);
});
