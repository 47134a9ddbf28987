/** Running another program with bytes in and bytes out: bounded, stoppable, and never taken for good when it was not. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import type { ErrorCode } from '../base/error-codes.ts';
import { HelvinoError, interrupted } from '../base/errors.ts';

const keptLines = 100;

interface ChildOptions {
  /** For messages. */
  readonly name: string;
  /** The program: a path, or a name that is looked for in `PATH` of `env`. */
  readonly path: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  /** False: a line on standard error that is not worth keeping. */
  readonly keep?: (line: string) => boolean;
  /** The code of the error when it does not end well. */
  readonly failure: ErrorCode;
}

/** Good only when it has ended with status 0: its output alone, however long, says nothing. */
export class ChildProgram {
  /** What it prints: must be read to its end. */
  readonly stdout: Readable;
  readonly stdin: Writable;
  /** What it said on standard error: the last hundred lines. */
  readonly messages: string[] = [];
  /** How many lines came before those. */
  lostMessages = 0;
  readonly #options: ChildOptions;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #stop: () => void;

  constructor(options: ChildOptions) {
    const { path, args, env, signal, keep = () => true } = options;
    signal.throwIfAborted();
    this.#options = options;
    const child = spawn(path, args, { env: { ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child = child;
    this.stdout = child.stdout;
    this.stdin = child.stdin;
    this.#stop = () => child.kill('SIGTERM');
    signal.addEventListener('abort', this.#stop, { once: true });
    let begun = '';
    child.stderr.on('data', (chunk: Buffer) => {
      const lines = (begun + chunk.toString()).split('\n');
      begun = lines.pop() ?? '';
      this.messages.push(...lines.filter((line) => line !== '' && keep(line)));
      this.lostMessages += this.messages.splice(0, this.messages.length - keptLines).length;
    });
    // A program that has ended takes no more input: its status says why.
    child.stdin.on('error', () => undefined);
    this.#ended = new Promise<void>((resolve, reject) => {
      child.on('error', (cause) => reject(this.#failure(cause.message, cause)));
      child.on('close', (status, killed) => {
        if (begun !== '' && keep(begun)) this.messages.push(begun);
        if (signal.aborted) reject(interrupted(signal));
        else if (status === 0) resolve();
        else
          reject(this.#failure(status === null ? `was ended by ${killed}` : `ended with status ${status}`));
      });
    }).finally(() => signal.removeEventListener('abort', this.#stop));
    this.#ended.catch(() => undefined);
  }

  /** Resolves when the program has ended well. Throws SERVER_ERROR with what it said, INTERRUPTED. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Ends it, and waits. Nothing when it has ended. */
  async kill(): Promise<void> {
    this.#child.kill('SIGTERM');
    // Else it would wait for someone to read the rest.
    this.stdout.destroy();
    await this.#ended.catch(() => undefined);
  }

  /** Writes what comes to its input, and closes it; stops when the program has ended, or wants no more. */
  async write(input: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      for await (const bytes of input) {
        if (this.stdin.destroyed) return;
        if (!this.stdin.write(bytes)) await this.#drained();
      }
      this.stdin.end();
    } catch (thrown) {
      // Half of the input must not be taken for all of it.
      await this.kill();
      throw thrown;
    }
  }

  /** All that it prints, which must be little, once it has ended well. */
  async text(): Promise<string> {
    const pieces: Buffer[] = [];
    for await (const piece of this.stdout) pieces.push(piece as Buffer);
    await this.#ended;
    return Buffer.concat(pieces).toString('utf8');
  }

  /** Gives it all of this input and waits for its end. What it prints is thrown away. */
  async feed(input: AsyncIterable<Uint8Array>): Promise<void> {
    this.stdout.resume();
    await this.write(input);
    await this.#ended;
  }

  /** Without input; what it prints is thrown away. */
  async alone(): Promise<void> {
    this.stdout.resume();
    this.stdin.end();
    await this.#ended;
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.stdin.off('drain', done);
        this.stdin.off('close', done);
        resolve();
      };
      this.stdin.once('drain', done);
      this.stdin.once('close', done);
    });
  }

  #failure(what: string, cause?: unknown): HelvinoError {
    const telling =
      this.messages.findLast((line) => /\b(error|fatal|FATAL|ERROR):/.test(line)) ?? this.messages.at(-1);
    return new HelvinoError(
      this.#options.failure,
      `${this.#options.name} ${what}${telling === undefined ? '' : `: ${telling}`}`,
      {
        cause,
        hint: 'all that it said is in the context (--json)',
        context: { messages: [...this.messages] },
      },
    );
  }
}
