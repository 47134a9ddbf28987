import { type ErrorCodeFacts, errorCodes } from '../src/base/error-codes.ts';
import { code, markdownTable, pageHead } from './markdown.ts';

export function errorsPage(): string {
  const rows = Object.entries<ErrorCodeFacts>(errorCodes).map(([name, facts]) => [
    code(name),
    String(facts.exit),
    String(facts.http),
    facts.retry ? 'yes' : 'no',
    facts.meaning,
    facts.hint,
  ]);
  return [
    ...pageHead('Errors', 'engine/src/base/error-codes.ts'),
    'An error has a message (what happened, with the values), a hint (what to do now: that of the table where nothing fits better) and a code, which is stable. On the command',
    'line it is written to standard error; with `--json` it is the `error` of the one object on standard output:',
    '',
    '```json',
    '{"ok":false,"command":"backup","error":{"code":"SERVER_UNREACHABLE","message":"…","hint":"…","retry":true,"context":{}}}',
    '```',
    '',
    'The exit status follows sysexits(3) where one fits. *Again* says whether the same call may succeed later with nothing changed.',
    'With `HELVINO_DEBUG=1` the stack is written to standard error, too.',
    '',
    ...markdownTable(['code', 'exit', 'HTTP', 'again', 'meaning', 'what to do'], rows),
  ].join('\n');
}
