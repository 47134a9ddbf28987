import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestServer } from '../../test/pg-server.ts';
import { HelvinoError } from '../base/errors.ts';
import { resolveConnection } from './conninfo.ts';
import { withSql } from './with-sql.ts';

const code = (wanted: string) => (thrown: unknown) =>
  thrown instanceof HelvinoError && thrown.code === wanted;

test('work over a connection – its result; INTERRUPTED at once on the signal; the connection broke: SERVER_GONE; our own mistake stays one', async () => {
  await using server = await startTestServer({ major: 17 });
  const connection = await resolveConnection({ url: server.url }, {});
  const never = new AbortController().signal;
  const run = (sql: string, signal = never) =>
    withSql(connection, { signal }, async (client) => (await client.query<{ n: number }>(sql)).rows[0]?.n);
  assert.equal(await run('select 1 as n'), 1);
  const begun = performance.now();
  await assert.rejects(run('select pg_sleep(60)', AbortSignal.timeout(300)), code('INTERRUPTED'));
  assert.ok(performance.now() - begun < 10_000);
  await assert.rejects(run('select 1/0'), code('SERVER_ERROR'));
  await assert.rejects(run('select pg_terminate_backend(pg_backend_pid())'), code('SERVER_GONE'));
  const mistake = withSql(connection, { signal: never }, () => Promise.reject(new TypeError('ours')));
  await assert.rejects(mistake, TypeError);
});
