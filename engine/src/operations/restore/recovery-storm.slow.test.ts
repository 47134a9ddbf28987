/** The long form of recovery-storm.pg.test.ts: all majors, 200 random targets in all. */
import { test } from 'node:test';
import { testMajors } from '../../../test/pg-server.ts';
import { testSeed } from '../../../test/random-load.ts';
import { recoveryStorm } from '../../../test/recovery-storm.ts';

for (const major of testMajors) {
  test(`PostgreSQL ${major}, server, streamer and store are killed under load – what was confirmed is there, random targets are met exactly`, async (t) => {
    const seed = testSeed();
    t.diagnostic(`seed ${seed} (HELVINO_TEST_SEED)`);
    await recoveryStorm({
      major,
      seed,
      kills: 15,
      backups: 4,
      targets: 40,
      tell: (line) => t.diagnostic(line),
    });
  });
}
