import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** A file's content, or which entries a folder has, durable when it resolves. Throws what the file system says. */
export async function syncPath(path: string): Promise<void> {
  await sync(path, constants.O_RDONLY);
}

/** The same of a folder: ENOTDIR when something else is in its place. */
export async function syncFolder(path: string): Promise<void> {
  await sync(path, constants.O_RDONLY | constants.O_DIRECTORY);
}

async function sync(path: string, flags: number): Promise<void> {
  const handle = await open(path, flags);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
