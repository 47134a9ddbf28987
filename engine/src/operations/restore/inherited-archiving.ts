/** A restored server has the settings of its source, also where it archives to. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * The archive_command of a restored directory, as it is in its configuration files; undefined: none is there, or the configuration is
 * elsewhere. https://www.postgresql.org/docs/current/config-setting.html: of several lines the last counts, postgresql.auto.conf most.
 */
export async function inheritedArchiving(directory: string): Promise<string | undefined> {
  let command: string | undefined;
  for (const name of ['postgresql.conf', 'postgresql.auto.conf']) {
    const text = await readFile(join(directory, name), 'utf8').catch(() => '');
    for (const [, value] of text.matchAll(/^\s*archive_command\s*=?\s*'((?:[^'\\]|''|\\.)*)'/gim))
      command = value;
  }
  return command?.trim() ? command : undefined;
}
