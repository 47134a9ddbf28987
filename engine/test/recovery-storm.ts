/** The storm, and recoveries after it: what the quick and the slow test share. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatLsn } from '../src/postgres/index.ts';
import type { TestMajor } from './pg-server.ts';
import { committed, judge, RecoveryLab as Lab, type RecoveryLab, randomTargets } from './recovery-lab.ts';

export interface Storm {
  readonly major: TestMajor;
  readonly seed: number;
  /** Of server, streamer and store. */
  readonly kills: number;
  readonly backups: number;
  /** Recoveries to random targets. */
  readonly targets: number;
  readonly tell?: (line: string) => void;
}

export async function recoveryStorm(storm: Storm): Promise<void> {
  const { major, seed, tell = () => undefined } = storm;
  await using lab = await Lab.open({ major, seed });
  try {
    await underLoad(lab, storm);
    const truth = await lab.loseAll();
    assert.deepEqual(truth.state.broken, [], 'the source itself');
    const all = committed(lab, truth);
    tell(
      `${all.length} transactions, ${truth.manifests.length} backups, stored up to ${formatLsn(truth.confirmed)}`,
    );

    const confirmed = {
      words: 'latest',
      must: (e: { after: bigint }) => e.after <= truth.confirmed,
      mustNot: () => false,
    };
    const expectations = [confirmed, ...randomTargets(lab, truth, { seed, count: storm.targets })];
    const wrong: string[] = [];
    for (const expected of expectations) {
      try {
        const state = await lab.stateAt(expected.words);
        const found = judge(state, truth, all, expected);
        if (found.length > 0)
          wrong.push(
            `to ${expected.words} from ${state.backup}: ${found.length}: ${found.slice(0, 5).join('; ')}`,
          );
      } catch (thrown) {
        wrong.push(`to ${expected.words}: ${(thrown as Error).message}`);
      }
    }
    assert.deepEqual(wrong, []);
    tell(`${expectations.length} recoveries agree with the log`);
  } catch (thrown) {
    const story = [...lab.story, ...(await lab.stored())].join('\n');
    throw new Error(`seed ${seed}, PostgreSQL ${major}: ${(thrown as Error).message}\n${story}`, {
      cause: thrown,
    });
  }
}

/** Backups and kills in turns, with load between them. */
async function underLoad(lab: RecoveryLab, { kills, backups }: Storm): Promise<void> {
  // A backup that ends before the stream begins leads nowhere.
  while (lab.confirmed === 0n) await sleep(50);
  let struck = 0;
  for (let taken = 0; taken < backups; taken++) {
    await lab.backup();
    for (; struck < ((taken + 1) * kills) / backups; struck++) {
      await sleep(500 + Math.random() * 1000);
      await lab.strike();
    }
    await sleep(1000);
  }
}
