import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { type FaultPlan, faultPlanToEnv } from './faulty-driver.ts';
import type { ChildStep } from './storage-child.ts';

export interface ChildResult {
  /** `SIGKILL` when it was killed. */
  readonly signal: NodeJS.Signals | null;
  readonly outcomes: readonly string[];
  readonly points: readonly string[];
}

interface ChildOptions {
  readonly root: string;
  readonly steps: readonly ChildStep[];
  readonly plan?: FaultPlan;
  readonly uid?: number;
}

/** Runs steps on a store in a process of its own (storage-child.ts). */
export function runStorageChild({ root, steps, plan = {}, uid }: ChildOptions): Promise<ChildResult> {
  const script = fileURLToPath(new URL('./storage-child.ts', import.meta.url));
  const child = spawn(process.execPath, [script, root, JSON.stringify(steps)], {
    env: { ...process.env, ...faultPlanToEnv(plan) },
    stdio: ['ignore', 'pipe', 'inherit'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (_, signal) => {
      const { outcomes, points } = JSON.parse(output || '{"outcomes":[],"points":[]}') as ChildResult;
      resolve({ signal, outcomes, points });
    });
  });
}
