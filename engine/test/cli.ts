/**
 * Runs the program as a user would: what `npm test` has put together, else the launcher of the checkout, on the Node.js that is there.
 * `signal` ends it, with SIGTERM; `kill` as a power cut does. `onOutput` and `onErrors` see what has been written so far. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const launcher =
  process.env.HELVINO_TEST_PROGRAM ?? fileURLToPath(new URL('../bin/helvino.mjs', import.meta.url));

export interface CliOutcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function helvino(
  args: readonly string[],
  options: {
    cwd: string;
    env?: Record<string, string>;
    signal?: AbortSignal;
    kill?: AbortSignal;
    onOutput?: (stdout: string) => void;
    onErrors?: (stderr: string) => void;
  },
): Promise<CliOutcome> {
  return new Promise((resolve, reject) => {
    const { HELVINO_CONFIG: _, HELVINO_IDENTITY: __, ...inherited } = process.env;
    const child = spawn(process.execPath, [launcher, ...args], {
      cwd: options.cwd,
      env: { ...inherited, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own: the launcher and the program that it starts.
      detached: options.kill !== undefined,
    });
    const output = { stdout: '', stderr: '' };
    child.stdout.on('data', (chunk) => {
      output.stdout += chunk;
      options.onOutput?.(output.stdout);
    });
    child.stderr.on('data', (chunk) => {
      output.stderr += chunk;
      options.onErrors?.(output.stderr);
    });
    child.on('error', reject);
    options.signal?.addEventListener('abort', () => child.kill('SIGTERM'), { once: true });
    options.kill?.addEventListener('abort', () => process.kill(-child.pid!, 'SIGKILL'), { once: true });
    child.on('close', (status) => resolve({ status, ...output }));
  });
}

export interface JsonAnswer {
  readonly ok: boolean;
  readonly command?: string;
  readonly result?: Record<string, unknown>;
  readonly warnings?: readonly string[];
  readonly error?: { code: string; message: string; hint?: string };
}

/** With --json: exactly one object on standard output, nothing else. */
export async function helvinoJson(
  args: readonly string[],
  options: { cwd: string; env?: Record<string, string> },
): Promise<JsonAnswer & { status: number | null }> {
  const outcome = await helvino([...args, '--json'], options);
  return { ...(JSON.parse(outcome.stdout) as JsonAnswer), status: outcome.status };
}
