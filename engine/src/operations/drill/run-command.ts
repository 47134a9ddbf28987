/**
 * Commands of a plan: run by a shell, with an environment that holds nothing of ours, in a process group of their own, so that
 * all that they have started ends with them.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Clock } from '../../base/clock.ts';
import { type HelvinoError, interrupted } from '../../base/errors.ts';
import { randomHex } from '../../base/ids.ts';
import type { Environment } from '../../config/index.ts';

const keptLines = 20;
const keptBytes = 16 << 10;
const graceMs = 10_000;

/** The third descriptor is open for as long as we live: when we are killed, a guard in the group ends all of it. */
const guarded = '{ read -r _ <&3; kill -s KILL 0; } >/dev/null 2>&1 & exec /bin/sh -c "$1" 3<&-';

export interface CommandOptions {
  readonly command: string;
  readonly directory: string;
  /** All that it gets, beside where programs are. */
  readonly env: Readonly<Record<string, string>>;
  /** Hidden in what it prints. */
  readonly secrets?: readonly string[];
  /** Ours: `PATH` and the like are taken from it. */
  readonly outer: Environment;
  readonly clock: Clock;
}

const markName = 'HELVINO_COMMAND';

const passed = ['PATH', 'HOME', 'LANG', 'TMPDIR'];

export class Command {
  readonly #child: ChildProcess;
  /** In the environment of all that it starts. */
  readonly #mark = randomHex(16);
  readonly #clock: Clock;
  readonly #secrets: readonly string[];
  readonly #ended: Promise<void>;
  readonly #killAtExit = () => this.#signal('SIGKILL');
  #said = '';
  #over = false;
  #outcome = '';

  constructor({ command, directory, env, secrets = [], outer, clock }: CommandOptions) {
    this.#clock = clock;
    // The longest first: one may hold another.
    this.#secrets = secrets.filter((secret) => secret !== '').sort((a, b) => b.length - a.length);
    const basics = Object.fromEntries(
      passed.flatMap((name) => (outer[name] === undefined ? [] : [[name, outer[name]]])),
    );
    const child = spawn('/bin/sh', ['-c', guarded, 'sh', command], {
      cwd: directory,
      env: { ...basics, ...env, [markName]: this.#mark },
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      detached: true,
    });
    this.#child = child;
    process.once('exit', this.#killAtExit);
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => {
        this.#said = (this.#said + chunk.toString()).slice(-keptBytes);
      });
    this.#ended = new Promise((resolve) => {
      const end = (outcome: string) => {
        this.#over = true;
        this.#outcome = outcome;
        resolve();
      };
      child.on('error', (error) => end(`could not be started: ${startProblem(error, directory)}`));
      // At its exit, not when all output is closed: what it left running may hold that open.
      child.on('exit', (status, killed) =>
        end(status === null ? `was ended by ${killed}` : `ended with status ${status}`),
      );
    });
  }

  /** How it ended; undefined while it runs. */
  get outcome(): string | undefined {
    return this.#over ? this.#outcome : undefined;
  }

  get good(): boolean {
    return this.#over && this.#child.exitCode === 0;
  }

  /** The last lines that it printed, without its secrets. */
  get lines(): string[] {
    return this.#secrets
      .reduce((said, secret) => said.replaceAll(secret, '***'), this.#said)
      .split('\n')
      .map((line) => line.trimEnd())
      .filter((line) => line !== '')
      .slice(-keptLines);
  }

  /** False when it was still running after that time. Throws INTERRUPTED. */
  async endsWithin(timeoutMs: number, signal: AbortSignal): Promise<boolean> {
    const stop = new AbortController();
    const timeout = this.#clock
      .sleep(timeoutMs, AbortSignal.any([signal, stop.signal]))
      .catch(() => undefined);
    await Promise.race([this.#ended, timeout]);
    stop.abort();
    if (signal.aborted) throw interrupted(signal) satisfies HelvinoError;
    return this.#over;
  }

  /** Ends it and all that it started. */
  async stop(): Promise<void> {
    this.#signal('SIGTERM');
    const done = new AbortController();
    const patience = this.#clock.sleep(graceMs, done.signal).catch(() => undefined);
    await Promise.race([this.#ended, patience]);
    done.abort();
    // Also what is left of the group after its first process, and what has left the group.
    this.#signal('SIGKILL');
    await this.#ended;
    killMarked(this.#mark);
    process.removeListener('exit', this.#killAtExit);
    for (const stream of this.#child.stdio) stream?.destroy();
  }

  #signal(name: 'SIGTERM' | 'SIGKILL'): void {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, name);
    } catch {
      // The group is gone.
    }
  }
}

function startProblem({ message }: Error, directory: string): string {
  return existsSync(directory) ? message : `its directory ${directory} is not there`;
}

/** A daemon makes a group of its own. Where there is no /proc, it stays. */
function killMarked(mark: string): void {
  const entry = Buffer.from(`${markName}=${mark}\0`);
  // One that is being started meanwhile is found by the next look.
  for (let found = true, looks = 0; found && looks < 20; looks++) {
    found = false;
    for (const pid of processes()) {
      if (!environmentOf(pid).includes(entry)) continue;
      found = true;
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended.
      }
    }
  }
}

function processes(): number[] {
  try {
    return readdirSync('/proc')
      .map(Number)
      .filter((pid) => pid > 1);
  } catch {
    return [];
  }
}

/** Of one that is not ours, or has ended, nothing. */
function environmentOf(pid: number): Buffer {
  try {
    return readFileSync(`/proc/${pid}/environ`);
  } catch {
    return Buffer.alloc(0);
  }
}
