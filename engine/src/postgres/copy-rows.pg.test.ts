import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { startTestServer, type TestServer } from '../../test/pg-server.ts';
import { connectSql, copyIn, copyOut, query, resolveConnection } from './index.ts';

let server: TestServer;
let client: pg.Client;

before(async () => {
  server = await startTestServer({ major: 18 });
  client = await connectSql(await resolveConnection({ url: server.url }, {}));
});

after(async () => {
  await client.end();
  await server[Symbol.asyncDispose]();
});

test('a table copied out and in again, with rows larger than a batch, by a slow reader – the same rows', async () => {
  await query(
    client,
    `create table a as select g as id, repeat(md5(g::text), case when g % 1000 = 0 then 20000 else 3 end) as body from generate_series(1, 20000) g`,
  );
  await query(client, 'create table b (like a)');
  const other = await connectSql(await resolveConnection({ url: server.url }, {}));
  const writer = await copyIn(other, 'copy b from stdin');
  let atOnce = 0;
  let batches = 0;
  const rows = await copyOut(client, 'copy a to stdout', async (lines) => {
    assert.equal(++atOnce, 1);
    assert.equal(lines.at(-1), 10);
    await writer.write(lines);
    if (++batches % 10 === 0) await sleep(20);
    atOnce--;
  });
  assert.equal(rows, 20000);
  assert.equal(await writer.end(), 20000);
  assert.ok(batches > 20, `${batches}`);
  const [row] = await query<{ same: boolean }>(
    client,
    `select (select md5(string_agg(a::text, '' order by id)) from a) = (select md5(string_agg(b::text, '' order by id)) from b) as same`,
  );
  assert.equal(row!.same, true);
  await other.end();
});

test('a copy that fails, at the server, in the reader, or given up – an error of ours, and the connection goes on', async () => {
  await query(client, 'create table c (id int primary key)');
  await assert.rejects(
    copyOut(client, 'copy nothing to stdout', () => undefined),
    { code: 'SERVER_ERROR', message: /"nothing"/ },
  );
  await assert.rejects(
    copyOut(client, 'copy (select generate_series(1, 1000000)) to stdout', () => {
      throw new Error('full');
    }),
    /full/,
  );
  const twice = await copyIn(client, 'copy c from stdin');
  await twice.write(Buffer.from('1\n1\n'));
  await assert.rejects(twice.end(), { code: 'SERVER_ERROR', message: /duplicate key/ });
  const refused = await copyIn(client, 'copy c from stdin');
  await assert.rejects(
    (async () => {
      for (;;) await refused.write(Buffer.from('x\n'.repeat(100_000)));
    })(),
    { message: /invalid input syntax/ },
  );
  const given = await copyIn(client, 'copy c from stdin');
  await given.write(Buffer.from('1\n'));
  await given.fail();
  await assert.rejects(copyIn(client, 'copy nothing from stdin'), { code: 'SERVER_ERROR' });
  const [row] = await query<{ count: number }>(client, 'select count(*)::int as count from c');
  assert.equal(row!.count, 0);
});

test('rows copied out and in – over our own connections, with a slow reader and a slow server: memory stays flat, nothing is lost', async () => {
  await using server = await startTestServer({ major: 18 });
  const connection = await resolveConnection({ url: server.url }, {});
  const [from, to] = [await connectSql(connection), await connectSql(connection)];
  try {
    await to.query('create table copied (n int, filler text)');
    const rows = 300_000;
    const query = `select n, repeat('x', 200) from generate_series(1, ${rows}) n`;
    const writer = await copyIn(to, 'copy copied from stdin');
    const before = process.memoryUsage().rss;
    let most = before;
    const out = await copyOut(from, `copy (${query}) to stdout`, async (batch) => {
      await writer.write(batch);
      most = Math.max(most, process.memoryUsage().rss);
    });
    assert.equal(out, rows);
    assert.equal(await writer.end(), rows);
    const found = await to.query('select count(distinct n)::int as count, min(n), max(n) from copied');
    assert.deepEqual(found.rows[0], { count: rows, min: 1, max: rows });
    assert.ok(most - before < 100 << 20, `${(most - before) >> 20} MiB more for 62 MB`);
    // The connections are as good as before.
    assert.equal((await from.query('select 1 as one')).rows[0]!.one, 1);
  } finally {
    await from.end();
    await to.end();
  }
});
