/**
 * Random schemas, rows, accidents and later work: after apply the organization's rows are what they were, everything else is
 * as it was, after undo all of it. Hundreds of them: random-rescue.slow.test.ts.
 */
import { test } from 'node:test';
import { matrixMajors, startTestServer } from '../../../test/pg-server.ts';
import { rescueCase } from './testing/rescue-case.ts';

const seedsOf = { 14: [5, 28], 15: [8], 16: [9], 17: [10], 18: [2, 6, 18, 23] } as const;

for (const major of matrixMajors) {
  test(`random accidents on PostgreSQL ${major} – apply brings back what the oracle says, undo takes all of it back`, async (t) => {
    await using server = await startTestServer({ templates: true, major, config: { fsync: 'off' } });
    for (const seed of seedsOf[major]) {
      t.diagnostic(`seed ${seed}`);
      await rescueCase({ url: server.url, major, seed });
    }
  });
}
