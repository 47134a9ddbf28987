/** The client that PostgreSQL's archive_command runs: a shell script, made for one receiver. */
import { chmod, readFile, rename, writeFile } from 'node:fs/promises';
import { HelvinoError, targetCode } from '../../base/errors.ts';
import { checkFolder } from './receive.ts';

export interface ArchiveClientOptions {
  /** Where the receiver listens; absolute. */
  readonly folder: string;
  /** How long the client waits for an answer. */
  readonly seconds: number;
}

export async function archiveClient({ folder, seconds }: ArchiveClientOptions): Promise<string> {
  checkFolder(folder);
  if (!Number.isInteger(seconds) || seconds < 1 || seconds > 3600)
    throw new HelvinoError('USAGE', `${seconds} s is no time to wait for an answer: from 1 s to 1 h`);
  const script = await readFile(new URL('./archive-client.sh', import.meta.url), 'utf8');
  return script
    .replace('@FOLDER@', () => `'${folder.replaceAll("'", `'\\''`)}'`)
    .replace('@SECONDS@', String(seconds));
}

/** Whole or not at all, since a server may be running the one that is there. */
export async function writeArchiveClient(file: string, script: string): Promise<void> {
  const temporary = `${file}.new`;
  try {
    await writeFile(temporary, script, { mode: 0o755 });
    await chmod(temporary, 0o755);
    await rename(temporary, file);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new HelvinoError(targetCode(cause), `the client ${file} cannot be written: ${message}`, {
      cause,
      hint:
        code === 'ENOENT' || code === 'ENOTDIR'
          ? 'make that folder first, or choose another place with --output'
          : 'choose another place with --output, or run it as a user who may write there',
    });
  }
}

/** The value of the setting, before it is quoted for postgresql.conf. Throws USAGE. */
export function archiveCommand(file: string): string {
  if (/^[A-Za-z0-9_./-]+$/.test(file)) return `${file} "%p" "%f"`;
  throw new HelvinoError(
    'USAGE',
    `${JSON.stringify(file)} holds characters that would have to be quoted in a setting`,
    {
      hint: 'choose a path of letters, digits, dots, dashes and underscores',
    },
  );
}
