/** What a verb runs in: streams, environment, configuration, time, and the ways to ask and to report. */
import { createInterface } from 'node:readline/promises';
import { type Clock, systemClock } from '../base/clock.ts';
import { HelvinoError } from '../base/errors.ts';
import { printable } from '../base/format.ts';
import { type Progress, silentProgress } from '../base/progress.ts';
import type { Environment, LoadedConfig } from '../config/index.ts';
import { ProgressDisplay, type TextStream } from './output/progress-display.ts';

export interface GlobalOptions {
  readonly config?: string;
  readonly json: boolean;
  readonly quiet: boolean;
}

export interface CliContext {
  readonly env: Environment;
  readonly cwd: string;
  readonly clock: Clock;
  readonly progress: Progress;
  /** What `progress` was told to warn of, for the answer of --json. */
  readonly warnings: readonly string[];
  readonly signal: AbortSignal;
  readonly options: GlobalOptions;
  /** Helvino's version. */
  readonly program: string;
  /** Says something before the verb is done: text lines, or with --json one line of its own, `{"event": …}`. */
  tell(event: Readonly<Record<string, unknown>>, text: readonly string[]): void;
  config(): Promise<LoadedConfig>;
  /** Throws CONFIRMATION_NEEDED unless the user types `name`, or gave it with --confirm. */
  confirm(what: string, name: string, given: string | undefined): Promise<void>;
}

interface ContextInput {
  readonly env: Environment;
  readonly cwd: string;
  readonly signal: AbortSignal;
  readonly options: GlobalOptions;
  readonly program: string;
  readonly stdin: NodeJS.ReadableStream & { isTTY?: boolean };
  readonly stdout: TextStream;
  readonly stderr: TextStream & NodeJS.WritableStream;
}

export function createContext(
  input: ContextInput,
): CliContext & { readonly display: ProgressDisplay | undefined } {
  const { env, cwd, options } = input;
  const display = options.json || options.quiet ? undefined : new ProgressDisplay(input.stderr, systemClock);
  const warnings: string[] = [];
  const progress = recording(display ?? warningsOnly(input.stderr), warnings);
  let loaded: Promise<LoadedConfig> | undefined;
  return {
    ...input,
    clock: systemClock,
    display,
    warnings,
    progress,
    tell(event, text) {
      display?.clear();
      input.stdout.write(`${options.json ? JSON.stringify(event) : text.join('\n')}\n`);
    },
    config: () => (loaded ??= loadWhenNeeded({ file: options.config, env, cwd }, progress)),
    confirm: (what, name, given) => confirm(input, { what, name, given }),
  };
}

/** The schema and the YAML reader are most of what `--version` would load. */
async function loadWhenNeeded(
  options: { file?: string; env: Environment; cwd: string },
  progress: Progress,
): Promise<LoadedConfig> {
  const { configWarnings, loadConfig } = await import('../config/index.ts');
  const loaded = await loadConfig(options);
  for (const { path, problem, hint } of configWarnings(loaded.config))
    progress.note('warn', `${loaded.file}: ${path}: ${problem}: ${hint}`);
  return loaded;
}

/** --quiet and --json leave progress out, never a warning. */
function warningsOnly(stderr: TextStream): Progress {
  const note: Progress['note'] = (level, message) => {
    if (level === 'warn') stderr.write(`warning: ${message}\n`);
  };
  return { ...silentProgress, note };
}

function recording(progress: Progress, warnings: string[]): Progress {
  return {
    phase: (name, total, unit) => progress.phase(name, total, unit),
    advance: (count) => progress.advance(count),
    total: (total) => progress.total(total),
    note(level, message) {
      if (level === 'warn') warnings.push(message);
      progress.note(level, message);
    },
  };
}

async function confirm(
  input: ContextInput,
  { what, name, given }: { what: string; name: string; given: string | undefined },
): Promise<void> {
  if (given === name) return;
  const hint = `look first with --dry-run; then give --confirm ${name}`;
  if (given !== undefined)
    throw new HelvinoError('CONFIRMATION_NEEDED', `--confirm says "${given}", not "${name}"`, { hint });
  if (!input.stdin.isTTY || input.options.json)
    throw new HelvinoError('CONFIRMATION_NEEDED', `${what}: this needs a confirmation`, { hint });
  const ask = createInterface({ input: input.stdin, output: input.stderr });
  // Ctrl-C and Ctrl-D close the question, which then would never be answered.
  const closed = new AbortController();
  ask.once('close', () => closed.abort());
  try {
    const signal = AbortSignal.any([input.signal, closed.signal]);
    const answer = await ask.question(`${printable(what)}\nType ${printable(name)} to go on: `, { signal });
    if (answer.trim() === name) return;
  } catch (thrown) {
    if (input.signal.aborted) throw input.signal.reason;
    if (!closed.signal.aborted) throw thrown;
  } finally {
    ask.close();
  }
  throw new HelvinoError('CONFIRMATION_NEEDED', 'not confirmed; nothing was done', { hint });
}
