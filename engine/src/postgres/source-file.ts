/** Files of a server that are read beside it. Whoever is its user decides what they are, so what is opened is looked at. */
import { closeSync, constants, fstatSync, openSync, type Stats } from 'node:fs';
import { HelvinoError, systemCode } from '../base/errors.ts';

/** What may always be done where they cannot be read. */
export const serverSends = 'set `read: replication` (--read replication): then the server sends its files';

/** A link is not followed, and a pipe not waited for. */
const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Returns undefined when the file was removed since it was listed, as those of dropped tables are. `owner`: the server's user,
 * when this process is another's and may read more: somebody else's file, to which a folder that became a link may lead, is
 * refused; undefined: not looked at. Throws SOURCE_UNREADABLE.
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
    assertOwner(path, stat, owner);
    return { fd, stat };
  } catch (thrown) {
    closeSync(fd);
    throw thrown instanceof HelvinoError ? thrown : sourceUnreadable(path, thrown);
  }
}

/** Throws SOURCE_UNREADABLE; `owner` as in `openSourceFile`. */
export function assertOwner(path: string, { uid }: Pick<Stats, 'uid'>, owner: number | undefined): void {
  if (owner === undefined || uid === owner) return;
  throw sourceUnreadable(path, `it belongs to user ${uid}, the server is run by ${owner}`);
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
export function sourceUnreadable(path: string, reason: unknown, hint?: string): HelvinoError {
  const why = systemCode(reason) ?? String(reason);
  return new HelvinoError('SOURCE_UNREADABLE', `${path} cannot be read: ${why}`, {
    hint: hint ?? hintFor(why),
    context: { path, why },
    cause: reason instanceof Error ? reason : undefined,
  });
}

function hintFor(why: string): string {
  if (why === 'EIO') return "the server's disk is failing: take a backup elsewhere before anything else";
  return `run Helvino as the user of the server, or ${serverSends}`;
}
