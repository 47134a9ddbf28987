/** The long form of random.pg.test.ts: all majors, many rounds. */
import { test } from 'node:test';
import { testMajors } from '../../test/pg-server.ts';
import { randomRounds, testSeed } from '../../test/random-load.ts';

for (const major of testMajors) {
  test(`many random changes and backups on PostgreSQL ${major} – each backup restores to its own moment`, async (t) => {
    const seed = testSeed();
    t.diagnostic(`seed ${seed} (HELVINO_TEST_SEED)`);
    await randomRounds({ major, seed, rounds: 25, steps: 30 });
  });
}
