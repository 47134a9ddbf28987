/** Folders that all tests share: made whole or not at all, since test files run at the same time, and once. */
import { access, mkdtemp, rename, rm } from 'node:fs/promises';

/** `make` fills an empty folder, which becomes `folder`. Nothing is left of one that it could not fill. */
export async function madeOnce(folder: string, make: (half: string) => Promise<void>): Promise<void> {
  if (await exists(folder)) return;
  const half = await mkdtemp(`${folder}-`);
  try {
    await make(half);
    await rename(half, folder);
  } catch (thrown) {
    await rm(half, { recursive: true, force: true });
    const isThere = ['ENOTEMPTY', 'EEXIST'].includes((thrown as NodeJS.ErrnoException).code ?? '');
    if (!isThere) throw thrown;
  }
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
