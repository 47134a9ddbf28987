/**
 * One step of a rescue in a process of its own, so that its wall time and peak memory are those of a whole program.
 * `node bench/rescue-child.ts '{"action":"plan",...}'`; the last line of output is a JSON `RescueChildResult`.
 */
import { readFile } from 'node:fs/promises';
import { systemClock } from '../engine/src/base/clock.ts';
import { silentProgress } from '../engine/src/base/progress.ts';
import { applyRescue, planRescue, undoRescue } from '../engine/src/operations/rescue/index.ts';
import { connectSql, resolveConnection } from '../engine/src/postgres/index.ts';

export interface RescueJob {
  readonly action: 'plan' | 'apply' | 'undo';
  readonly url: string;
  readonly before: string;
  readonly now: string;
  readonly planFile: string;
  readonly undoFile: string;
  readonly redoFile: string;
}

export interface RescueChildResult {
  /** Rows that the step is about. */
  readonly rows: number;
  /** VmHWM of the process, in MiB. */
  readonly peakMiB: number;
}

async function step(job: RescueJob): Promise<number> {
  const params = await resolveConnection({ url: job.url }, process.env);
  const now = await connectSql(params, { database: job.now });
  const work = {
    clock: systemClock,
    progress: silentProgress,
    signal: new AbortController().signal,
    program: 'helvino bench',
  };
  const how = {
    onMoved: 'stop',
    triggers: 'auto',
    lockTimeoutMs: 60_000,
    statementTimeoutMs: 0,
    dryRun: false,
  } as const;
  try {
    if (job.action === 'plan') {
      const before = await connectSql(params, { database: job.before });
      const all = { insert: true, revert: true, remove: false };
      const plan = await planRescue({
        ...work,
        before,
        now,
        model: {},
        root: { table: 'organizations', where: { key: 'org1' } },
        policies: { all, onConflict: 'stop', onSchemaChange: 'stop' },
        file: job.planFile,
      });
      await before.end();
      return plan.tables.reduce((sum, { insert }) => sum + insert, 0);
    }
    const result =
      job.action === 'apply'
        ? await applyRescue({ ...work, ...how, now, planFile: job.planFile, undoFile: job.undoFile })
        : await undoRescue({ ...work, ...how, now, undoFile: job.undoFile, redoFile: job.redoFile });
    return result.tables.reduce((sum, { inserted, removed }) => sum + inserted + removed, 0);
  } finally {
    await now.end();
  }
}

const rows = await step(JSON.parse(process.argv[2]!) as RescueJob);
const status = await readFile('/proc/self/status', 'utf8');
const result: RescueChildResult = { rows, peakMiB: Number(/VmHWM:\s+(\d+) kB/.exec(status)![1]) / 1024 };
process.stdout.write(`${JSON.stringify(result)}\n`);
