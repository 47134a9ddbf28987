/** Files of a server that are read beside it. Whoever is its user decides what they are, so what is opened is looked at. */
import { closeSync, constants, fstatSync, openSync, type Stats } from 'node:fs';
import { HelvinoError, systemCode } from '../base/errors.ts';

/** What to do where they cannot be read. */
export const serverSends = 'set `read: replication` (--read replication): then the server sends its files';

/** A link is not followed, and a pipe not waited for. */
const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * `owner`: of the data directory, when this process may read more than that user: another's file, which a folder that became a
 * link may lead to, is refused. Undefined: the file was removed since it was listed, as those of dropped tables are. Throws
 * SOURCE_UNREADABLE.
 */
export function openSourceFile(
  path: string,
  owner: number | undefined,
): { readonly fd: number; readonly stat: Stats } | undefined {
  const fd = open(path);
  if (fd === undefined) return undefined;
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw sourceUnreadable(path, 'it is no plain file');
    if (owner !== undefined && stat.uid !== owner)
      throw sourceUnreadable(path, `it is the file of user ${stat.uid}, the data directory is of ${owner}`);
    return { fd, stat };
  } catch (thrown) {
    closeSync(fd);
    throw thrown instanceof HelvinoError ? thrown : sourceUnreadable(path, thrown);
  }
}

function open(path: string): number | undefined {
  try {
    return openSync(path, flags);
  } catch (thrown) {
    if (systemCode(thrown) === 'ENOENT') return undefined;
    throw sourceUnreadable(path, thrown);
  }
}

/** `reason`: an exception of the system, or words. */
export function sourceUnreadable(path: string, reason: unknown): HelvinoError {
  const why = systemCode(reason) ?? String(reason);
  return new HelvinoError('SOURCE_UNREADABLE', `${path} cannot be read: ${why}`, {
    hint: `run Helvino as the user of the server, or ${serverSends}`,
    context: { path, why },
    cause: reason instanceof Error ? reason : undefined,
  });
}
