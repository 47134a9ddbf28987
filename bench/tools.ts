/** Running programs, and waiting for them; everything that was started ends with the bench. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { processFields } from '../engine/src/base/process-state.ts';

const running = new Set<ChildProcess>();
let stopped: string | undefined;

/** After this every `run` fails, also those that run now. */
export function stopAll(why: string): void {
  stopped = why;
  for (const { pid } of running) if (pid !== undefined) process.kill(-pid, 'SIGTERM');
}

export interface Ran {
  readonly seconds: number;
  readonly output: string;
  readonly errors: string;
}

export interface RunOptions {
  readonly as?: 'postgres';
  /** A list as of taskset(1): it runs on these alone. */
  readonly processors?: string;
  /** Also after `stopAll`: for cleaning up. */
  readonly always?: boolean;
}

function commandOf(
  program: string,
  args: readonly string[],
  { as, processors }: RunOptions,
): [string, ...string[]] {
  const account = as === undefined ? [] : ['runuser', '-u', as, '--'];
  const pinned = processors === undefined ? [] : ['taskset', '-c', processors];
  return [...pinned, ...account, program, ...args] as [string, ...string[]];
}

/** Runs a program, as `postgres` if asked. Throws with its output when it fails. */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  if (stopped !== undefined && !options.always) throw new Error(stopped);
  const [file, ...words] = commandOf(program, args, options);
  const begun = performance.now();
  const child = spawn(file, words, {
    cwd: '/',
    // A process group of its own: all of it can be ended.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
  });
  running.add(child);
  let output = '';
  let errors = '';
  child.stdout.on('data', (bytes: Buffer) => (output += bytes));
  child.stderr.on('data', (bytes: Buffer) => (errors += bytes));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  running.delete(child);
  const seconds = (performance.now() - begun) / 1000;
  if (code !== 0)
    throw new Error(`${program} ended with ${signal ?? code}:\n${(errors + output).slice(-3000)}`);
  return { seconds, output, errors };
}

export interface Launched {
  /** Processor seconds until now, of all its processes that still run. */
  cpu(): Promise<number>;
  /** Ends it with SIGTERM and waits; throws when it had ended before, with its output. */
  stop(): Promise<void>;
}

/** Starts a program that runs until it is stopped. */
export function launch(program: string, args: readonly string[], options: RunOptions = {}): Launched {
  if (stopped !== undefined) throw new Error(stopped);
  const [file, ...words] = commandOf(program, args, options);
  const child = spawn(file, words, {
    cwd: '/',
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
  });
  running.add(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (output += bytes));
  let ended = false;
  const closed = once(child, 'close').then(() => {
    ended = true;
    running.delete(child);
  });
  return {
    cpu: () => groupCpu(child.pid!),
    async stop() {
      if (ended) throw new Error(`${program} had ended:\n${output.slice(-3000)}`);
      // The whole group: runuser does not pass signals on.
      process.kill(-child.pid!, 'SIGTERM');
      await closed;
    },
  };
}

/** https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html */
async function groupCpu(group: number): Promise<number> {
  let seconds = 0;
  for (const name of await readdir('/proc')) {
    const fields = /^\d+$/.test(name) ? processFields(Number(name)) : undefined;
    if (fields && Number(fields[2]) === group) seconds += cpuOf(fields);
  }
  return seconds;
}

/** Processor seconds of one process so far. */
export function processCpu(pid: number): number {
  const fields = processFields(pid);
  if (fields === undefined) throw new Error(`process ${pid} is gone`);
  return cpuOf(fields);
}

function cpuOf(fields: readonly string[]): number {
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** USER_HZ of Linux. */
const ticksPerSecond = 100;

/** As `run`, with the processor time of the program and its children, in seconds. */
export async function measure(
  program: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Ran & { readonly cpu: number }> {
  const timed = ['-c', `TIMEFORMAT='%U %S'; time "$@"`, 'bash', program, ...args];
  const ran = await run('bash', timed, options);
  const [user, system] = ran.errors.trim().split('\n').at(-1)!.split(' ').map(Number);
  return { ...ran, cpu: user! + system! };
}

/** True when the program can be found. */
export async function has(program: string): Promise<boolean> {
  return run('sh', ['-c', `command -v ${program}`]).then(
    () => true,
    () => false,
  );
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function say(text: string): void {
  console.error(`${new Date().toISOString().slice(11, 19)} ${text}`);
}
