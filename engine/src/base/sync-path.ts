import { open } from 'node:fs/promises';

/** A file's content, or which entries a folder has, durable when it resolves. Throws what the file system says. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
