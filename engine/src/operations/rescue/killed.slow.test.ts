/** A process killed at every statement of an apply, and of an undo. The short form: killed.pg.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestServer } from '../../../test/pg-server.ts';
import { killCase } from './testing/kill-case.ts';

for (const [major, seed] of [
  [18, 3],
  [14, 5],
] as const)
  test(`killed at every statement, PostgreSQL ${major} – the state is that before or that after; run again, it is that after`, async (t) => {
    await using server = await startTestServer({ templates: true, major, config: { fsync: 'off' } });
    const killed = await killCase({ url: server.url, major, seed, every: 1 });
    t.diagnostic(`${killed} runs were killed`);
    assert.ok(killed > 50, `${killed}`);
  });
