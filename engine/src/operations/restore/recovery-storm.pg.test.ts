import { test } from 'node:test';
import { testSeed } from '../../../test/random-load.ts';
import { recoveryStorm } from '../../../test/recovery-storm.ts';

test('server, streamer and store are killed under load – what was confirmed is there, random targets are met exactly', async (t) => {
  const seed = testSeed();
  t.diagnostic(`seed ${seed} (HELVINO_TEST_SEED)`);
  await recoveryStorm({
    major: 18,
    seed,
    kills: 3,
    backups: 2,
    targets: 5,
    tell: (line) => t.diagnostic(line),
  });
});
