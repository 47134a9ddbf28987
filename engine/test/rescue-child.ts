/**
 * Applies a plan, or undoes one, and is killed (SIGKILL, to itself) at its nth statement: before it is sent, or once it is on its
 * way. `node engine/test/rescue-child.ts '{…RescueKill}'`; says `done` when it was not killed.
 */
import { systemClock } from '../src/base/clock.ts';
import { silentProgress } from '../src/base/progress.ts';
import { applyRescue, undoRescue } from '../src/operations/rescue/index.ts';
import { connect } from '../src/operations/rescue/testing/state.ts';

export interface RescueKill {
  readonly action: 'apply' | 'undo';
  readonly url: string;
  readonly database: string;
  readonly planFile: string;
  readonly undoFile: string;
  readonly redoFile: string;
  readonly step: number;
  readonly when: 'before' | 'after';
}

const job = JSON.parse(process.argv[2]!) as RescueKill;
const now = await connect(job.url, job.database);
const die = () => process.kill(process.pid, 'SIGKILL');
let step = 0;
const send = now.query.bind(now) as (...words: unknown[]) => unknown;
Object.assign(now, {
  query(...words: unknown[]) {
    if (++step === job.step && job.when === 'before') die();
    const answer = send(...words);
    // The server has it by then, and may or may not have done it.
    if (step === job.step) setTimeout(die, (step % 4) * 2);
    return answer;
  },
});
const common = {
  clock: systemClock,
  progress: silentProgress,
  signal: new AbortController().signal,
  program: 'test',
  now,
  dryRun: false,
  onMoved: 'stop',
  triggers: 'auto',
  lockTimeoutMs: 30_000,
  statementTimeoutMs: 0,
} as const;
if (job.action === 'apply') await applyRescue({ ...common, planFile: job.planFile, undoFile: job.undoFile });
else await undoRescue({ ...common, undoFile: job.undoFile, redoFile: job.redoFile });
await now.end();
process.stdout.write('done');
