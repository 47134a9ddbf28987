import { lstat } from 'node:fs/promises';
import { HelvinoError, systemCode } from './errors.ts';

/** `what`: file, folder, and how it is named. Throws TARGET_NOT_EMPTY when something of that name is there, also a link to nothing. */
export async function refuseExisting(path: string, what: string): Promise<void> {
  const there = await lstat(path).catch((thrown: unknown) => {
    if (systemCode(thrown) === 'ENOENT') return undefined;
    throw thrown;
  });
  if (there)
    throw new HelvinoError('TARGET_NOT_EMPTY', `${path} exists`, {
      hint: `nothing is overwritten: name another ${what}, or remove it`,
    });
}
