import { open, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HelvinoError, systemCode } from './errors.ts';
import { randomHex } from './ids.ts';
import { syncFolder } from './sync-path.ts';

/**
 * New text for a file of the user's that is there: whole or not at all, durable, with the mode and the owner that it had; of a link
 * the file that it leads to. Throws CONFIG_INVALID.
 */
export async function replaceFile(file: string, text: string): Promise<void> {
  try {
    const real = await realpath(file);
    const half = `${real}.${randomHex(4)}`;
    try {
      await writeAs(half, text, await stat(real));
      await rename(half, real);
    } catch (thrown) {
      await rm(half, { force: true }).catch(() => undefined);
      throw thrown;
    }
    // The new text has the name: a file system that cannot do this keeps its folders by itself.
    await syncFolder(dirname(real)).catch(() => undefined);
  } catch (cause) {
    throw new HelvinoError('CONFIG_INVALID', `${file} cannot be changed: ${(cause as Error).message}`, {
      cause,
      hint:
        systemCode(cause) === 'EPERM'
          ? 'it is as it was; run this as the owner of the file, which it keeps'
          : 'it is as it was; this user has to be able to write to its folder',
    });
  }
}

async function writeAs(
  file: string,
  text: string,
  { mode, uid, gid }: { readonly mode: number; readonly uid: number; readonly gid: number },
): Promise<void> {
  await using handle = await open(file, 'wx', 0o600);
  await handle.writeFile(text);
  const made = await handle.stat();
  if (made.uid !== uid || made.gid !== gid) await handle.chown(uid, gid);
  await handle.chmod(mode & 0o7777);
  await handle.sync();
}
