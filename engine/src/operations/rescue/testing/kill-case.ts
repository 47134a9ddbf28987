/** An apply and an undo in a process that is killed at one statement after the other; each run again. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import type { RescueKill } from '../../../../test/rescue-child.ts';
import { differences } from './oracle.ts';
import { planCase } from './rescue-case.ts';
import { readState, type State } from './state.ts';

const child = fileURLToPath(new URL('../../../../test/rescue-child.ts', import.meta.url));

interface KillOptions {
  readonly url: string;
  readonly major: number;
  readonly seed: number;
  /** Every how manieth statement. */
  readonly every: number;
}

/** Answers how many runs were killed. */
export async function killCase(options: KillOptions): Promise<number> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'hv-kill-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const { now, schema, names, lost, rescued } = await planCase({ ...options, folder }, stack);
  const job = { url: options.url, database: names.now, planFile: join(folder, 'plan') };
  const state = () => readState(now, schema);
  const either = async () => {
    const found = await state();
    const [same, done] = [differences(lost, found), differences(rescued, found)];
    assert.ok(same.length === 0 || done.length === 0, `neither before nor after: ${same.join('; ')}`);
  };
  const expect = async (wanted: State, what: string) =>
    assert.deepEqual(differences(wanted, await state()), [], what);
  let killed = 0;
  for (let step = 1, ended = 0; ended < 2; step += options.every) {
    const files = { undoFile: join(folder, `${step}.undo`), redoFile: join(folder, `${step}.redo`) };
    const when = step % 2 === 0 ? 'before' : 'after';
    const run = (action: RescueKill['action'], at: number) =>
      runChild(now, { ...job, ...files, action, step: at, when });
    ended = 0;
    for (const [action, wanted] of [
      ['apply', rescued],
      ['undo', lost],
    ] as const) {
      if (await run(action, step)) ended++;
      else killed++;
      await either();
      // Again, to its end; and once more.
      for (const time of [1, 2]) {
        assert.ok(await run(action, 0), `${action} after a kill at ${step}, time ${time}`);
        await expect(wanted, `${action} after a kill ${when} statement ${step}, time ${time}`);
      }
    }
  }
  return killed;
}

/** False when it was killed; its session on the server has ended when this resolves. */
async function runChild(admin: pg.Client, job: RescueKill): Promise<boolean> {
  const done = await new Promise<boolean>((resolve, reject) => {
    execFile(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', child, JSON.stringify(job)],
      (error, stdout, stderr) => {
        if (!error) return resolve(stdout === 'done');
        if (error.signal === 'SIGKILL') return resolve(false);
        reject(new Error(`${job.action} at ${job.step}: ${stderr.slice(-2000)}`));
      },
    );
  });
  for (;;) {
    const text = 'select count(*) as n from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()';
    const { rows } = await admin.query<{ n: string }>(text, [job.database]);
    if (rows[0]!.n === '0') return done;
    await sleep(10);
  }
}
