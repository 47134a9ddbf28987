/** What a verb runs in: streams, environment, configuration, time, and the ways to ask and to report. */
import { createInterface } from 'node:readline/promises';
import { type Clock, systemClock } from '../base/clock.ts';
import { HelvinoError } from '../base/errors.ts';
import { type Progress, silentProgress } from '../base/progress.ts';
import { type Environment, type LoadedConfig, loadConfig } from '../config/index.ts';
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
  readonly signal: AbortSignal;
  readonly options: GlobalOptions;
  /** Helvino's version. */
  readonly program: string;
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
  readonly stderr: TextStream & NodeJS.WritableStream;
}

export function createContext(
  input: ContextInput,
): CliContext & { readonly display: ProgressDisplay | undefined } {
  const { env, cwd, options } = input;
  const display = options.json || options.quiet ? undefined : new ProgressDisplay(input.stderr, systemClock);
  let loaded: Promise<LoadedConfig> | undefined;
  return {
    ...input,
    clock: systemClock,
    display,
    progress: display ?? silentProgress,
    config: () => (loaded ??= loadConfig({ file: options.config, env, cwd })),
    confirm: (what, name, given) => confirm(input, { what, name, given }),
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
  try {
    const answer = await ask.question(`${what}\nType ${name} to go on: `, { signal: input.signal });
    if (answer.trim() === name) return;
  } finally {
    ask.close();
  }
  throw new HelvinoError('CONFIRMATION_NEEDED', 'not confirmed; nothing was done', { hint });
}
