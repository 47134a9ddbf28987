import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { systemCode } from './errors.ts';

/**
 * A folder and those above it. The topmost that was made, undefined when all were there. Node's own `recursive` never comes to an
 * end where a folder says ENOENT though the one above is there, as in /proc. Throws what the file system says.
 */
export async function makeFolders(path: string, mode: number): Promise<string | undefined> {
  if (await makeOne(path, mode).catch(missingAbove)) return path;
  if (await isFolder(path)) return undefined;
  const first = await makeFolders(dirname(path), mode);
  return (await makeOne(path, mode)) ? (first ?? path) : first;
}

/** False when it is there, made by another perhaps. */
async function makeOne(path: string, mode: number): Promise<boolean> {
  try {
    await mkdir(path, { mode });
    return true;
  } catch (thrown) {
    if (systemCode(thrown) === 'EEXIST' && (await stat(path)).isDirectory()) return false;
    throw thrown;
  }
}

function missingAbove(thrown: unknown): false {
  if (systemCode(thrown) === 'ENOENT') return false;
  throw thrown;
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (facts) => facts.isDirectory(),
    () => false,
  );
}
