/** As random-rescue.pg.test.ts, at length. HELVINO_TEST_SEED is the first seed, HELVINO_TEST_CASES how many. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestServer } from '../../../test/pg-server.ts';
import { rescueCase } from './testing/rescue-case.ts';

const first = Number(process.env.HELVINO_TEST_SEED ?? 1000);
const cases = Number(process.env.HELVINO_TEST_CASES ?? 200);

for (const [major, fire] of [
  [18, false],
  [14, false],
  [16, true],
] as const) {
  test(`${cases} random accidents on PostgreSQL ${major}${fire ? ', foreign keys acting' : ''} – apply brings back what the oracle says, undo takes all of it back`, async (t) => {
    await using server = await startTestServer({ templates: true, major, config: { fsync: 'off' } });
    const failures: string[] = [];
    const outcomes: Record<string, number> = {};
    for (let seed = first; seed < first + cases; seed++) {
      try {
        const { outcome } = await rescueCase({ url: server.url, major, seed, fire });
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      } catch (thrown) {
        failures.push(
          `seed ${seed}: ${thrown instanceof Error ? thrown.message.slice(0, 600) : String(thrown)}`,
        );
      }
    }
    t.diagnostic(JSON.stringify(outcomes));
    assert.deepEqual(failures, []);
    // Most of them must do something, else nothing was tested.
    assert.ok((outcomes.applied ?? 0) > cases / 2, JSON.stringify(outcomes));
  });
}
