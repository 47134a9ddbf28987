/** Random changes and backups; each restores to what the source was. The long form: random.slow.test.ts. */
import { test } from 'node:test';
import { matrixMajors } from '../../test/pg-server.ts';
import { randomRounds, testSeed } from '../../test/random-load.ts';

for (const major of matrixMajors) {
  test(`random changes and backups on PostgreSQL ${major} – each backup restores to its own moment`, async (t) => {
    const seed = testSeed();
    t.diagnostic(`seed ${seed} (HELVINO_TEST_SEED)`);
    await randomRounds({ major, seed, rounds: 3, steps: 12 });
  });
}
