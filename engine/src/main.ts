/**
 * The program. The only place that exits, and that writes what a verb returns. Signals end the work in order: the
 * operation stops, cleans up, and the exit status says that it was interrupted; a second signal ends at once.
 */
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { systemClock } from './base/clock.ts';
import { asHelvinoError, HelvinoError } from './base/errors.ts';
import { printable } from './base/format.ts';
import {
  buildProgram,
  createContext,
  firstWord,
  type GlobalOptions,
  loadVerbs,
  namedVerb,
  type ParsedCommand,
  parseArguments,
} from './cli/index.ts';
import { processEnvironment } from './config/env.ts';

// What sockets bring is memory outside of the heap. By default each 16 MiB of it start a collection of the whole heap: half of the
// processor time of reading from S3. So the collector counts it together with the heap.
setFlagsFromString('--external-memory-accounted-in-global-limit');

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};
const env = processEnvironment();
const interrupted = new AbortController();
/** A Ctrl-C may come twice: from the terminal, and from a launcher on an older Node.js, which passes on what it got. */
const sameSignalMs = 1000;
let firstSignal = 0;

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    const now = systemClock.monotonic();
    if (interrupted.signal.aborted) {
      if (now - firstSignal > sameSignalMs) process.exit(130);
      return;
    }
    firstSignal = now;
    interrupted.abort(
      new HelvinoError('INTERRUPTED', `stopped by ${signal}`, {
        hint: 'what was stored before stays valid; run the same command again',
      }),
    );
  });
}
// A reader that went away (`| head`) stops neither the work nor changes its exit status.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
}
for (const event of ['unhandledRejection', 'uncaughtException'] as const) {
  process.on(event, (thrown: unknown) => {
    report(thrown, process.argv.includes('--json'));
    process.exit(70);
  });
}

const status = await run(process.argv.slice(2));
await allWritten();
process.exit(status);

/**
 * A pipe takes 64 KiB, and the rest when its reader is ready: exit() would cut that off. Ends also when the reader has gone away, and by
 * a signal, should the reader be stuck.
 */
async function allWritten(): Promise<void> {
  for (const stream of [process.stdout, process.stderr]) {
    if (stream.writableLength === 0) continue;
    await new Promise<void>((resolve) => {
      interrupted.signal.addEventListener('abort', () => resolve(), { once: true });
      stream.write('', () => resolve());
    });
  }
}

async function run(argv: readonly string[]): Promise<number> {
  const json = argv.includes('--json');
  let parsed: ParsedCommand | undefined;
  let named: string | undefined;
  try {
    const write = (text: string) => process.stdout.write(text);
    const verbs = await loadVerbs(firstWord(argv));
    named = namedVerb(argv, verbs);
    const program = buildProgram({ verbs, version, write }, (command) => {
      parsed = command;
    });
    await parseArguments(program, argv);
    return parsed ? await runVerb(parsed) : 0;
  } catch (thrown) {
    return report(thrown, json, parsed?.verb.name ?? named);
  }
}

async function runVerb({ verb, options, args }: ParsedCommand): Promise<number> {
  const global: GlobalOptions = {
    config: options.config as string | undefined,
    json: options.json === true,
    quiet: options.quiet === true,
  };
  const { stdin, stdout, stderr } = process;
  const context = createContext({
    env,
    cwd: process.cwd(),
    signal: interrupted.signal,
    options: global,
    program: version,
    stdin,
    stdout,
    stderr,
  });
  try {
    const result = await verb.run(context, options, args);
    context.display?.clear();
    if (global.json)
      answer({ ok: true, command: verb.name, result: result.data, warnings: context.warnings });
    else if (result.text.length > 0) process.stdout.write(`${result.text.join('\n')}\n`);
    return result.exit ?? 0;
  } finally {
    context.display?.clear();
  }
}

/** The one object of --json. */
function answer(value: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** It may quote what a file or a server said. */
function lines(text: string): string {
  return text.split('\n').map(printable).join('\n');
}

/** Writes an error for people or machines; returns its exit status. */
function report(thrown: unknown, json: boolean, command?: string): number {
  const error = asHelvinoError(
    interrupted.signal.aborted && !(thrown instanceof HelvinoError) ? interrupted.signal.reason : thrown,
  );
  if (json) {
    answer({ ok: false, command, error });
  } else {
    process.stderr.write(`error: ${lines(error.message)}\n`);
    if (error.hint) process.stderr.write(`hint: ${lines(error.hint)}\n`);
    process.stderr.write(`code: ${error.code}\n`);
  }
  if (env.HELVINO_DEBUG)
    process.stderr.write(`${error.stack}\n${error.cause instanceof Error ? error.cause.stack : ''}\n`);
  return error.exit;
}
