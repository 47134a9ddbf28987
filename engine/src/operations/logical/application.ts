/** The application around a restore: stopped before, migrated and started after, asked for its health at the end. */
import { spawn } from 'node:child_process';
import type { Clock } from '../../base/clock.ts';
import { HelvinoError, interrupted } from '../../base/errors.ts';

export interface ApplicationSteps {
  /** Commands for `/bin/sh -c`. */
  readonly stop: readonly string[];
  readonly start: readonly string[];
  readonly migrate: readonly string[];
  /** systemd units: stopped before, started after. */
  readonly units: readonly string[];
  readonly healthUrl?: string;
  readonly healthTimeoutMs: number;
  /** Where commands run. */
  readonly directory: string;
}

export interface ApplicationContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

export const noApplication: ApplicationSteps = {
  stop: [],
  start: [],
  migrate: [],
  units: [],
  healthTimeoutMs: 0,
  directory: '/',
};

export function stopCommands({ stop, units }: ApplicationSteps): string[] {
  return [...stop, ...units.map((unit) => `systemctl stop ${quoted(unit)}`)];
}

export function startCommands({ start, units }: ApplicationSteps): string[] {
  return [...units.map((unit) => `systemctl start ${quoted(unit)}`), ...start];
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

const keptBytes = 4096;

/** One after the other; the first that fails ends it. Throws CHECK_FAILED with what the command said. */
export async function runCommands(
  commands: readonly string[],
  { directory }: ApplicationSteps,
  context: ApplicationContext,
): Promise<void> {
  for (const command of commands) await runCommand(command, directory, context);
}

function runCommand(command: string, cwd: string, { env, signal }: ApplicationContext): Promise<void> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const child = spawn('/bin/sh', ['-c', command], {
      cwd,
      env: { ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    const keep = (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-keptBytes);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    const stop = () => child.kill('SIGTERM');
    signal.addEventListener('abort', stop, { once: true });
    const failed = (why: string) => {
      const last = said.trim().split('\n').at(-1);
      return new HelvinoError('CHECK_FAILED', `\`${command}\` ${why}${last ? `: ${last}` : ''}`, {
        hint: 'what it printed is in the context (--json)',
        context: { command, output: said },
      });
    };
    child.on('error', (error) => reject(failed(error.message)));
    // At its exit, not when all output is closed: a start command may leave a server behind that holds it open.
    child.on('exit', (status, killed) => {
      signal.removeEventListener('abort', stop);
      if (signal.aborted) reject(interrupted(signal));
      else if (status === 0) resolve();
      else reject(failed(status === null ? `was ended by ${killed}` : `ended with status ${status}`));
      child.stdout.destroy();
      child.stderr.destroy();
    });
  });
}

/** Waits until the URL answers with a status of 200 to 299. Throws CHECK_FAILED. */
export async function awaitHealth(
  { healthUrl, healthTimeoutMs }: ApplicationSteps,
  { clock, signal }: ApplicationContext,
): Promise<string> {
  const url = healthUrl!;
  const until = clock.monotonic() + healthTimeoutMs;
  for (let last = ''; ; ) {
    try {
      const answer = await fetch(url, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(10_000)]),
        redirect: 'manual',
      });
      const said = await answer.text();
      if (answer.ok) return `${url} answers ${answer.status}`;
      last = `it answers ${answer.status} ${said.slice(0, keptBytes)}`.trim();
    } catch (thrown) {
      signal.throwIfAborted();
      const { cause, message } = thrown as Error;
      last = (cause as Error | undefined)?.message || message;
    }
    if (clock.monotonic() > until)
      throw new HelvinoError(
        'CHECK_FAILED',
        `${url} is not healthy after ${Math.round(healthTimeoutMs / 1000)} s: ${last}`,
        {
          hint: 'look at the application; `helvino swap undo` brings the database before the restore back',
        },
      );
    await clock.sleep(250, signal);
  }
}
