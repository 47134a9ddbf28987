import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { startTestServer, testMajors } from './pg-server.ts';

for (const major of testMajors) {
  test(`PostgreSQL ${major} – starts, answers, and stops`, async () => {
    await using server = await startTestServer({ major, config: { work_mem: '5MB' } });
    const client = new pg.Client(server.url);
    await client.connect();
    const { rows } = await client.query(
      "select current_setting('server_version_num')::int / 10000 as major, current_setting('work_mem') as mem",
    );
    await client.end();
    assert.deepEqual(rows, [{ major, mem: '5MB' }]);
    await server.stop();
    assert.match(server.log(), /database system is shut down/);
  });
}
