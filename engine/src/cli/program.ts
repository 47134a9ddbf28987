/** Builds the command-line program from the table of verbs. */
import { Command, CommanderError, Help, Option } from 'commander';
import { HelvinoError } from '../base/errors.ts';
import type { OptionValues, Verb } from './verb.ts';

export interface ParsedCommand {
  readonly verb: Verb;
  readonly options: OptionValues;
  readonly args: readonly (string | undefined)[];
}

/** Options that every verb takes. */
export const globalOptions = [
  {
    flags: '--config <file>',
    description: 'the configuration (default: ./helvino.yaml, then /etc/helvino/helvino.yaml)',
  },
  { flags: '--json', description: 'one JSON object on standard output, errors too' },
  { flags: '--quiet', description: 'no progress, only warnings' },
] as const;

/** The first word of a verb in what was typed; `version` for its option. */
export function firstWord(argv: readonly string[]): string | undefined {
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!;
    if (word === '--config') i++;
    else if (word === '--version') return 'version';
    else if (!word.startsWith('-')) return word;
  }
  return undefined;
}

/** The verb that was meant, also where it could not be parsed: an error says whose it is. */
export function namedVerb(argv: readonly string[], verbs: readonly Verb[]): string | undefined {
  const first = firstWord(argv) ?? '';
  const second = argv[argv.indexOf(first) + 1];
  return [`${first} ${second}`, first].find((wanted) => verbs.some(({ name }) => name === wanted));
}

interface ProgramInput {
  readonly verbs: readonly Verb[];
  readonly version: string;
  readonly write: (text: string) => void;
}

/** `onCommand` is called with what was asked for. Help goes to `write`. */
export function buildProgram(input: ProgramInput, onCommand: (parsed: ParsedCommand) => void): Command {
  const program = new Command('helvino')
    .description('Backup, restore and disaster recovery for PostgreSQL that proves its restores.')
    .version(input.version, '--version', 'print the version')
    .helpOption('-h, --help', 'help; `helvino <verb> --help` for a verb')
    .showSuggestionAfterError(true)
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    .configureOutput({ writeOut: input.write, writeErr: () => undefined });
  // On the program itself, commander takes them before the verb and after it.
  for (const option of globalOptions) program.option(option.flags, option.description);
  const groups = new Map<string, Command>();
  for (const verb of input.verbs) addVerb({ program, groups, verbs: input.verbs }, verb, onCommand);
  inheritSettings(program);
  for (const group of groups.values()) showOwnOptions(group);
  return program;
}

interface Building {
  readonly program: Command;
  readonly groups: Map<string, Command>;
  readonly verbs: readonly Verb[];
}

function addVerb(
  { program, groups, verbs }: Building,
  verb: Verb,
  onCommand: (parsed: ParsedCommand) => void,
): void {
  const [first = '', second] = verb.name.split(' ');
  const isGroup = second === undefined && verbs.some(({ name }) => name.startsWith(`${first} `));
  let parent = program;
  if (second !== undefined || isGroup) {
    parent = groups.get(first) ?? program.command(first).description(groupSummaries[first] ?? '');
    groups.set(first, parent);
  }
  const command = isGroup ? ownVerb(parent, verb) : parent.command(second ?? first);
  command.description(verb.summary);
  for (const argument of verb.arguments ?? []) command.argument(argument.name, argument.description);
  for (const option of verb.options ?? []) {
    const made = new Option(option.flags, option.description);
    if (option.choices) made.choices([...option.choices]);
    if (option.default !== undefined) made.default(option.default);
    command.addOption(made);
  }
  command.addHelpText('after', () => helpTail(verb, command));
  command.action((...values: unknown[]) => {
    const args = values.slice(0, (verb.arguments ?? []).length) as (string | undefined)[];
    const options: OptionValues = command.optsWithGlobals();
    refuseEmpty(verb, options, args);
    onCommand({ verb, options, args });
  });
}

/** A shell variable that is not set would otherwise mean this very folder, or the only backup that is there. */
function refuseEmpty(verb: Verb, options: OptionValues, args: readonly (string | undefined)[]): void {
  const option = Object.entries(options).find(([, value]) => value === '' || [value].flat().includes(''));
  const argument = args.map((value) => [value].flat()).findIndex((values) => values.includes(''));
  if (!option && argument < 0) return;
  const what = option
    ? `--${option[0].replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
    : verb.arguments![argument]!.name;
  throw new HelvinoError('USAGE', `${what} is empty`, {
    hint: 'give it a value or leave it out; is a variable of the shell not set?',
  });
}

/** For a verb like `drill`, under which there are others (`drill list`): what the group does when none of them is named. */
function ownVerb(group: Command, verb: Verb): Command {
  group
    .description(verb.summary)
    .usage(['[options]', ...(verb.arguments ?? []).map(({ name }) => name)].join(' '))
    .addHelpText('after', () => helpTail(verb, group));
  return group.command(ownName, { isDefault: true, hidden: true });
}

const ownName = 'this';

function showOwnOptions(group: Command): void {
  const own = group.commands.find((command) => command.name() === ownName);
  if (!own) return;
  const help = new Help();
  group.configureHelp({
    showGlobalOptions: true,
    visibleArguments: () => help.visibleArguments(own),
    visibleOptions: () => help.visibleOptions(own),
  });
}

const groupSummaries: Readonly<Record<string, string>> = {
  key: 'Who can restore: recipients, identities, the recovery kit.',
  config: 'The configuration.',
  lifecycle: 'Rules of a bucket on S3 that fit Helvino: show them, put them in place.',
  rescue: 'One tenant back into the live database: a plan, a look at it, apply, undo.',
  swap: 'Databases that a restore has replaced: list, bring back, drop.',
  hold: 'Backups that must not go: put, list and lift holds and pins.',
  retention: 'Which backups are kept: a plan with reasons, then apply it.',
  wal: 'WAL: store it as it is written, see what is stored.',
};

/** As wide as the rest of the help. */
function helpTail(verb: Verb, command: Command): string {
  const help = command.createHelp();
  help.prepareContext({ helpWidth: command.configureOutput().getOutHelpWidth?.() ?? 80 });
  const wrap = (text: string) => help.boxWrap(text, help.helpWidth ?? 80);
  const parts = paragraphs(verb).flatMap((paragraph) => ['', wrap(paragraph)]);
  parts.push('', 'Examples:', ...verb.examples.map((example) => `  ${example}`));
  if (verb.exits) {
    const exits = [{ status: 0, meaning: 'good' }, ...verb.exits];
    parts.push(
      '',
      'Exit status:',
      ...exits.map(({ status, meaning }) => help.formatItem(String(status), 3, meaning, help)),
    );
  }
  return parts.join('\n');
}

function paragraphs({ details = [] }: Verb): string[] {
  return details
    .join('\n')
    .split('\n\n')
    .filter((paragraph) => paragraph !== '')
    .map((paragraph) => paragraph.replaceAll('\n', ' '));
}

/** Settings are per command in commander. */
function inheritSettings(command: Command): void {
  for (const child of command.commands) {
    child.copyInheritedSettings(command);
    inheritSettings(child);
  }
}

/** Undefined when commander has done all (help, version). Throws USAGE. */
export async function parseArguments(program: Command, argv: readonly string[]): Promise<void> {
  try {
    await program.parseAsync([...argv], { from: 'user' });
  } catch (thrown) {
    if (!(thrown instanceof CommanderError)) throw thrown;
    if (thrown.exitCode === 0) return;
    const message = thrown.message.replace(/^error: /, '').replaceAll("'", '"');
    const [what = message, suggestion] = message.split('\n');
    throw new HelvinoError('USAGE', what === '(outputHelp)' ? 'no verb was given' : what, {
      hint:
        suggestion?.replace(/^\(|\)$/g, '').toLowerCase() ??
        '`helvino --help` lists the verbs; `helvino <verb> --help` explains one',
    });
  }
}
