import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestServer } from '../../test/pg-server.ts';
import { copyIn, copyOut } from './copy-rows.ts';
import { connectSql, resolveConnection } from './index.ts';

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
