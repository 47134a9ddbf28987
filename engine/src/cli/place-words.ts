/** For commands that are printed, to be typed as they are. */
import { shellWord } from '../base/format.ts';
import type { CliContext } from './context.ts';
import { type OptionValues, textOption } from './verb.ts';

const places = {
  database: '--database',
  copy: '--copy',
  dbname: '--dbname',
  repositoryPath: '--repository-path',
} as const;

/** Of what verbs that read backups take. */
export const readPlaces = ['database', 'copy', 'repositoryPath'] as const;

/**
 * Where it was worked: the same options for the next command, quoted for the shell. `taken`: those that the next command takes; every
 * one takes --config. A URL may hold a password, and is not repeated.
 */
export function placeWords(
  { options: { config } }: Pick<CliContext, 'options'>,
  options: OptionValues,
  taken: readonly (keyof typeof places)[],
): string[] {
  const words = config === undefined ? [] : [`--config ${shellWord(config)}`];
  for (const name of taken) {
    const value = textOption(options, name);
    if (value !== undefined) words.push(`${places[name]} ${shellWord(value)}`);
  }
  if (textOption(options, 'url') !== undefined) words.push('--url URL');
  return words;
}
