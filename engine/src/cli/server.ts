/** Which server a verb writes to: one that is named on the command line, or the configured one. */
import { HelvinoError } from '../base/errors.ts';
import { connectionOf, surroundingsOf } from '../operations/index.ts';
import { type ConnectionParams, resolveConnection } from '../postgres/index.ts';
import type { CliContext } from './context.ts';
import type { ReadAccess } from './open.ts';
import { type OptionValues, textOption, type VerbOption } from './verb.ts';

export const urlOptions: readonly VerbOption[] = [
  {
    flags: '--url <url>',
    description: 'the server, and the role to do it as; the configured connection otherwise',
  },
  { flags: '--password-env <name>', description: 'the variable that holds the password for --url' },
];

/** As `--url` says, else as the configuration does. */
export async function serverOf(
  context: CliContext,
  options: OptionValues,
  { chosen, loaded }: Pick<ReadAccess, 'chosen' | 'loaded'>,
): Promise<ConnectionParams> {
  const url = textOption(options, 'url');
  if (url !== undefined) {
    const variable = textOption(options, 'passwordEnv');
    const password = variable === undefined ? undefined : context.env[variable];
    if (variable !== undefined && !password)
      throw new HelvinoError('KEY_MISSING', `the variable ${variable} is not set`, {
        hint: `set ${variable}`,
      });
    return resolveConnection({ url, overrides: { password } }, context.env);
  }
  if (chosen && loaded) return connectionOf(chosen.database, surroundingsOf(loaded, context.env));
  throw new HelvinoError('USAGE', 'no server was given', { hint: '--url postgresql://role@host/postgres' });
}
