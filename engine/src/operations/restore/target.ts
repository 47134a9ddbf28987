/** Looks at the place to restore into, and refuses what would do harm, before anything is written. */
import type { Stats } from 'node:fs';
import { access, constants, lstat, mkdir, readdir, readFile, stat, statfs } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { HelvinoError, systemCode, targetCode } from '../../base/errors.ts';
import { formatBytes } from '../../base/format.ts';
import { isGone } from '../../base/process-state.ts';
import { isAtWork, markerName, readMarker, restoredNow } from './marker.ts';

export type TargetState =
  /** Nothing is there. */
  | 'empty'
  /** An earlier restore of the same backup did not come to its end. */
  | 'unfinished'
  /** A data directory, to be made like the backup. */
  | 'existing';

export async function inspectTarget(
  directory: string,
  { backupId, delta }: { backupId: string; delta: boolean },
): Promise<TargetState> {
  const names = await listing(directory);
  if (names.length === 0) return 'empty';
  const pid = await runningServer(directory);
  if (pid !== undefined) {
    throw new HelvinoError(
      'TARGET_IN_USE',
      `a PostgreSQL server (process ${pid}) is running on ${directory}`,
      {
        hint: 'stop it first, or restore into another directory',
        context: { directory, pid },
      },
    );
  }
  const marker = names.includes(markerName) ? await readMarker(directory) : undefined;
  // It had not come further than to its marker.
  if (marker === 'cut' && names.length === 1) return 'unfinished';
  const marked = marker === 'cut' ? undefined : marker;
  if (marked && isAtWork(marked)) throw restoredNow(directory, marked.pid);
  if (marked?.backup === backupId) return 'unfinished';
  if (delta && (marked || names.includes('PG_VERSION'))) return 'existing';
  const shown = names.slice(0, 3).join(', ') + (names.length > 3 ? ', …' : '');
  throw new HelvinoError('TARGET_NOT_EMPTY', `${directory} is not empty: it holds ${shown}`, {
    hint: delta ? 'with --delta it must be a PostgreSQL data directory (it has no PG_VERSION)' : undefined,
    context: { directory, entries: names.length },
  });
}

/** Names in a folder; none if there is no such folder. */
export async function listing(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (thrown) {
    const code = systemCode(thrown);
    if (code === 'ENOENT') return [];
    throw targetError(thrown, directory);
  }
}

/** The process number of a server that works here. */
async function runningServer(directory: string): Promise<number | undefined> {
  const own = await stat(directory);
  return (await serverOfLockFile(directory, own)) ?? (await serverAtWork(own));
}

/** The one in postmaster.pid, if that process is alive and works here. */
async function serverOfLockFile(directory: string, own: Stats): Promise<number | undefined> {
  const text = await readFile(join(directory, 'postmaster.pid'), 'utf8').catch(() => undefined);
  const pid = Number(text?.split('\n')[0]);
  if (!Number.isInteger(pid) || pid <= 0) return undefined;
  if (isGone(pid)) return undefined;
  // A server's working directory is its data directory; a reused process number has another.
  const cwd = await stat(`/proc/${pid}/cwd`).catch(() => undefined);
  return cwd === undefined || isSame(cwd, own) ? pid : undefined;
}

/**
 * In a container a server writes the number that it has there, and may see the directory under another path: so every process
 * that can be seen from here is looked at. https://man7.org/linux/man-pages/man5/proc_pid_cwd.5.html
 */
async function serverAtWork(own: Stats): Promise<number | undefined> {
  const processes = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  for (const pid of processes) {
    const cwd = await stat(`/proc/${pid}/cwd`).catch(() => undefined);
    if (cwd === undefined || !isSame(cwd, own)) continue;
    // A shell may be there, too.
    const program = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
    if (/postgres|postmaster/.test(program) && !isGone(Number(pid))) return Number(pid);
  }
  return undefined;
}

function isSame(one: Stats, other: Stats): boolean {
  return one.dev === other.dev && one.ino === other.ino;
}

export interface Need {
  readonly directory: string;
  /** Bytes that will be written there. */
  readonly bytes: number;
}

/**
 * Throws TARGET_TOO_SMALL, summing up what goes to the same file system, and TARGET_DENIED. With `reuse` what the
 * directories hold already is written over, and counts as free.
 */
export async function assertRoom(needs: readonly Need[], { reuse }: { reuse: boolean }): Promise<void> {
  const perDevice = new Map<number, { bytes: number; directory: string; parent: string }>();
  for (const { directory, bytes } of needs) {
    const parent = await nearestExisting(directory);
    await access(parent, constants.W_OK | constants.X_OK).catch((thrown: unknown) => {
      throw targetError(thrown, parent);
    });
    const { dev } = await stat(parent);
    const known = perDevice.get(dev);
    const own = reuse ? await allocated(directory) : 0;
    perDevice.set(dev, { bytes: bytes - own + (known?.bytes ?? 0), directory, parent });
  }
  for (const { bytes, directory, parent } of perDevice.values()) {
    const { bavail, bsize } = await statfs(parent);
    const free = bavail * bsize;
    if (free >= bytes) continue;
    throw new HelvinoError(
      'TARGET_TOO_SMALL',
      `${directory} has ${formatBytes(free)} free; the restore needs ${formatBytes(bytes)}`,
      {
        hint: 'restore to a larger disk, or remap a tablespace with --tablespace OLD=NEW',
        context: { directory, free, needed: bytes },
      },
    );
  }
}

/** Bytes that the files of a folder take on its disk; links are not followed. */
async function allocated(directory: string): Promise<number> {
  let sum = 0;
  for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => [])) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) sum += await allocated(path);
    else if (entry.isFile()) sum += ((await lstat(path).catch(() => undefined))?.blocks ?? 0) * 512;
  }
  return sum;
}

async function nearestExisting(directory: string): Promise<string> {
  let at = resolve(directory);
  for (;;) {
    const found = await lstat(at).catch((thrown: unknown) => {
      if (systemCode(thrown) !== 'ENOENT') throw targetError(thrown, at);
      return undefined;
    });
    if (found) return at;
    at = dirname(at);
  }
}

/** Folders on the way to it are made as others are: the account of the server, which may be another than ours, has to get through. */
export async function makeDirectory(directory: string, mode: number): Promise<void> {
  try {
    await mkdir(dirname(directory), { recursive: true });
    await mkdir(directory, { recursive: true, mode });
  } catch (thrown) {
    throw targetError(thrown, directory);
  }
}

/** A system error on the target as a HelvinoError. */
export function targetError(thrown: unknown, path: string): HelvinoError {
  if (thrown instanceof HelvinoError) return thrown;
  const code = targetCode(thrown);
  const message = `${path} cannot be used: ${(thrown as Error).message}`;
  const extras = { cause: thrown, context: { path, system: systemCode(thrown) } };
  if (code === 'TARGET_DENIED') {
    return new HelvinoError(code, message, {
      ...extras,
      hint: 'run as a user that may write there, or choose another directory',
    });
  }
  if (code === 'TARGET_TOO_SMALL') {
    return new HelvinoError(code, message, {
      ...extras,
      hint: 'make room and run the same restore again: it goes on where it was',
    });
  }
  return new HelvinoError(code, message, {
    ...extras,
    hint:
      systemCode(thrown) === 'ENOTDIR'
        ? 'there is a file in its place: choose a directory'
        : 'look at the disk and the system log',
  });
}
