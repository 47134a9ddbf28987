import { HelvinoError } from '../../base/errors.ts';
import { completionScript, shells } from '../completion.ts';
import type { Verb } from '../verb.ts';

/** `others`: all verbs; a function, since the table of verbs holds this one, too. */
export function completionVerb(others: () => Promise<readonly Verb[]>): Verb {
  return {
    name: 'completion',
    summary: 'print a completion script for a shell',
    arguments: [{ name: '<shell>', description: shells.join(', ') }],
    examples: [
      'source <(helvino completion bash)',
      'helvino completion fish > ~/.config/fish/completions/helvino.fish',
    ],
    async run(_context, _options, [shell = '']) {
      const known = shells.find((name) => name === shell);
      if (!known)
        throw new HelvinoError('USAGE', `"${shell}" is not a shell that is known`, {
          hint: `one of ${shells.join(', ')}`,
        });
      const script = completionScript(known, await others());
      return { data: { shell, script }, text: script.split('\n') };
    },
  };
}
