/** Whom `helvino export` encrypts to. */
import { HelvinoError } from '../base/errors.ts';
import { chooseDatabase, type LoadedConfig } from '../config/index.ts';
import { checkRecipient } from '../repository/index.ts';
import type { CliContext } from './context.ts';
import { neededIdentities } from './open.ts';
import { listOption, type OptionValues, textOption, type VerbOption } from './verb.ts';

export const exportRecipientOptions: readonly VerbOption[] = [
  {
    flags: '--recipient <recipient...>',
    description: 'encrypt to this recipient (again for more) instead of those of the repository; no SSH keys',
  },
  { flags: '--plain', description: 'do not encrypt: the files hold personal data' },
];

/**
 * In order: --recipient, those of the configured repository, without a configuration those of the recovery identity given.
 * Undefined: --plain, which warns. Throws USAGE when none is known, KEY_WRONG for one that is none.
 */
export async function exportRecipients(
  context: CliContext,
  options: OptionValues,
): Promise<readonly string[] | undefined> {
  const named = listOption(options, 'recipient');
  if (options.plain === true) {
    if (named.length > 0)
      throw new HelvinoError('USAGE', '--plain and --recipient were given', { hint: 'give one of them' });
    context.progress.note('warn', 'the files hold personal data and are not encrypted: --plain was given');
    return undefined;
  }
  const recipients = named.length > 0 ? named : await known(context, options);
  for (const recipient of recipients) await checkRecipient(recipient);
  return recipients;
}

async function known(context: CliContext, options: OptionValues): Promise<readonly string[]> {
  if (options.repositoryPath !== undefined) return (await neededIdentities(context, options)).recipients;
  const loaded = await configuration(context);
  return chooseDatabase(loaded, textOption(options, 'database'), textOption(options, 'copy')).repository
    .recipients;
}

async function configuration(context: CliContext): Promise<LoadedConfig> {
  try {
    return await context.config();
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError && thrown.code === 'CONFIG_NOT_FOUND')) throw thrown;
    throw new HelvinoError('USAGE', `nothing says whom to encrypt to: ${thrown.message}`, {
      cause: thrown,
      hint: 'name the recipient with --recipient age1…; or --plain, which leaves personal data in clear',
    });
  }
}
