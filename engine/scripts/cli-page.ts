import { globalOptions } from '../src/cli/program.ts';
import type { Verb, VerbOption } from '../src/cli/verb.ts';
import { loadVerbs } from '../src/cli/verbs/index.ts';
import { code, markdownTable, pageHead } from './markdown.ts';

const verbs = await loadVerbs();

export function cliPage(): string {
  return [
    ...pageHead('Command line', 'engine/src/cli/verbs'),
    'Results go to standard output, progress and errors to standard error. With `--json` standard output is one object:',
    '`{"ok":true,"command":…,"result":…,"warnings":[…]}` or `{"ok":false,"command":…,"error":…}` (without `command` where no verb was',
    'named); only `open` writes a line before it, which says where the server is. The exit status is 0 when all is good; those',
    'of errors are in [errors](errors.md). SIGINT, SIGTERM and SIGHUP stop the work in order (exit status 130); a second one at',
    'once.',
    '',
    ...markdownTable(
      ['verb', 'what it does'],
      verbs.map((verb) => [`[${code(verb.name)}](#helvino-${verb.name.replaceAll(' ', '-')})`, verb.summary]),
    ),
    'Every verb takes these:',
    '',
    ...optionTable(globalOptions),
    ...verbs.flatMap(verbSection),
  ].join('\n');
}

function verbSection(verb: Verb): string[] {
  const lines = [`## helvino ${verb.name}`, '', `${capital(verb.summary)}.`, ''];
  const usage = ['helvino', verb.name, ...(verb.arguments ?? []).map(({ name }) => name)];
  if (verb.options?.length) usage.push('[options]');
  lines.push('```', usage.join(' '), '```', '');
  if (verb.details) lines.push(...verb.details, '');
  if (verb.arguments?.length)
    lines.push(
      ...markdownTable(
        ['argument', 'meaning'],
        verb.arguments.map(({ name, description }) => [code(name), description]),
      ),
    );
  if (verb.options?.length) lines.push(...optionTable(verb.options));
  lines.push('```sh', ...verb.examples, '```', '');
  if (verb.exits)
    lines.push(
      ...markdownTable(
        ['exit status', 'meaning'],
        [['0', 'good'], ...verb.exits.map(({ status, meaning }) => [String(status), meaning])],
      ),
    );
  return lines;
}

function optionTable(options: readonly VerbOption[]): string[] {
  const rows = options.map(({ flags, description, choices, default: preset }) => {
    const notes = [
      ...(choices ? [`one of ${choices.map(code).join(', ')}`] : []),
      ...(preset === undefined ? [] : [`default ${code(preset)}`]),
    ];
    return [code(flags), notes.length > 0 ? `${description} (${notes.join('; ')})` : description];
  });
  return markdownTable(['option', 'meaning'], rows);
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
