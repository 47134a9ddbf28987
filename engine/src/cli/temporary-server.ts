/** What `drill` and `open` take from their options and the configuration for the server that they start. */
import { resolve } from 'node:path';
import type { CliContext } from './context.ts';
import type { ReadAccess } from './open.ts';
import { type OptionValues, textOption, type VerbOption } from './verb.ts';

export const temporaryServerOptions: readonly VerbOption[] = [
  { flags: '--directory <folder>', description: 'where the temporary place is made' },
  { flags: '--bin-dir <folder>', description: 'the PostgreSQL server programs to use' },
];

/** A directory of the command line is relative to where one is; what the configuration says, to the configuration. */
export function temporaryServer(context: CliContext, options: OptionValues, access: ReadAccess) {
  const settings = access.chosen?.database.drill;
  const base = access.loaded?.directory ?? context.cwd;
  const directory = textOption(options, 'directory');
  const binDir = textOption(options, 'binDir') ?? settings?.binDir;
  return {
    parent:
      directory !== undefined
        ? resolve(context.cwd, directory)
        : settings?.directory && resolve(base, settings.directory),
    binDirs: binDir ? [resolve(base, binDir)] : [],
    fetchServers: options.fetch !== false && (settings?.fetchServers ?? true),
    readyTimeoutMs: (settings?.readyTimeout ?? 3600) * 1000,
  };
}
