import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { helvinoJson } from '../../../test/cli.ts';
import { testSeed } from '../../../test/random-load.ts';
import { RecoveryLab } from '../../../test/recovery-lab.ts';
import { parseLsn } from '../../postgres/index.ts';

interface Claim {
  /** Milliseconds since 1970, when it was asked for. */
  readonly at: number;
  /** The end of the newest backup's window. */
  readonly to: bigint;
  readonly lag: { readonly bytes: number; readonly seconds: number };
}

/** How often the open segment is stored; a store that is under way when it is asked is not in the claim yet. */
const everyMs = 1000;

async function claimOf(cwd: string): Promise<Claim> {
  const at = Date.now();
  const { result } = await helvinoJson(['wal', 'status'], { cwd });
  const { windows, lag } = result as { windows: { to: string }[]; lag: Claim['lag'] };
  return { at, to: parseLsn(windows.at(-1)!.to), lag };
}

test('the server and its disk are lost – the newest heartbeat that comes back is as new as wal status had said', async (t) => {
  const seed = testSeed();
  t.diagnostic(`seed ${seed} (HELVINO_TEST_SEED)`);
  await using lab = await RecoveryLab.open({ major: 18, seed, every: `${everyMs}ms` });
  while (lab.confirmed === 0n) await sleep(50);
  await lab.backup();
  const claims: Claim[] = [];
  for (let i = 0; i < 4; i++) claims.push(await claimOf(lab.home));
  const killed = Date.now();
  await lab.loseAll();
  const { newestHeartbeat } = await lab.stateAt('latest');

  const beats = lab.load.heartbeats;
  const newest = beats.find((beat) => beat.n === newestHeartbeat);
  assert.ok(newest, `heartbeat ${newestHeartbeat} of ${beats.length}`);
  for (const { at, to, lag } of claims) {
    const promised = beats.filter((beat) => beat.after <= to).at(-1);
    if (promised)
      assert.ok(newest.n >= promised.n, `heartbeat ${promised.n} was stored, ${newest.n} came back`);
    const claimed = at - lag.seconds * 1000 - everyMs;
    assert.ok(newest.at >= claimed, `from ${at}, ${lag.seconds} s behind; ${newest.at} came back`);
  }
  t.diagnostic(
    `recovery point: ${killed - newest.at} ms before the loss; claimed last: ${claims.at(-1)!.lag.seconds} s`,
  );
});
