/** A process killed at some statements of an apply, and of an undo. At all of them: killed.slow.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestServer } from '../../../test/pg-server.ts';
import { killCase } from './testing/kill-case.ts';

test('apply and undo killed on their way – the state is that before or that after; run again, it is that after', async (t) => {
  await using server = await startTestServer({ templates: true, major: 18, config: { fsync: 'off' } });
  const killed = await killCase({ url: server.url, major: 18, seed: 3, every: 43 });
  t.diagnostic(`${killed} runs were killed`);
  assert.ok(killed > 3, `${killed}`);
});
