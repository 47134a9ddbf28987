/**
 * New text for a file of the user's that is there: whole or not at all where that can be had, durable, with the mode and the owner that
 * it had; of a link the file that it leads to. What may fail is done before `commit`: so what goes with the new text, and cannot be
 * undone, is done between the two. Only a file whose folder takes nothing beside it, or that is mounted by itself (into a container),
 * is written in place.
 */
import { type FileHandle, open, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HelvinoError, systemCode } from './errors.ts';
import { randomHex } from './ids.ts';
import { syncFolder } from './sync-path.ts';

/** Gone without `commit`, the file is as it was, and nothing is left beside it. */
export interface FileChange extends AsyncDisposable {
  /** Throws CONFIG_INVALID. */
  commit(): Promise<void>;
}

/** `change`: of the text that is there; asked again when that is another by the time of `commit`. Throws CONFIG_INVALID. */
export async function prepareChange(file: string, change: (text: string) => string): Promise<FileChange> {
  return explained(file, async () => {
    const real = await realpath(file);
    const before = await readFile(real, 'utf8');
    const ready = await makeReady(real, { before, after: change(before) });
    const commit = () =>
      explained(file, async () => {
        if ((await readFile(file, 'utf8')) === before) return putThere(ready);
        // Somebody has changed it meanwhile, which must not be lost.
        await using again = await prepareChange(file, change);
        await again.commit();
      });
    return { commit, [Symbol.asyncDispose]: () => removeHalf(ready.half) };
  });
}

/** Throws CONFIG_INVALID. */
export async function replaceFile(file: string, text: string): Promise<void> {
  await using change = await prepareChange(file, () => text);
  await change.commit();
}

interface Texts {
  readonly before: string;
  readonly after: string;
}

interface Ready extends Texts {
  readonly file: string;
  /** The new text under another name, beside it; undefined where that cannot be. */
  readonly half: string | undefined;
  readonly writable: boolean;
}

async function makeReady(file: string, texts: Texts): Promise<Ready> {
  const writable = await isWritable(file);
  if (!writable && (await isHeldFast(file)))
    throw new Error('this user may neither write to it nor put another in its place');
  const half = `${file}.${randomHex(4)}`;
  try {
    await writeLike(half, await stat(file), texts.after);
    return { ...texts, file, half, writable };
  } catch (thrown) {
    await removeHalf(half);
    // A disk that is full, or broken, would leave a part of what is written in place.
    if (!writable || !refusals.has(systemCode(thrown) ?? '')) throw thrown;
    return { ...texts, file, half: undefined, writable };
  }
}

/** What a folder says that takes no file, or lets none go. EBUSY: the file is mounted by itself. */
const refusals: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS', 'EBUSY']);

/** False when another may still be put in its place; throws where nothing can change it: it is on a read-only disk, or immutable. */
async function isWritable(file: string): Promise<boolean> {
  const handle = await open(file, 'r+').catch((thrown: unknown) => {
    if (systemCode(thrown) === 'EACCES') return undefined;
    throw thrown;
  });
  await handle?.close();
  return handle !== undefined;
}

/** Whether a rename over it fails: it is mounted by itself, or another's in a folder (like /tmp) where each keeps his own. */
async function isHeldFast(file: string): Promise<boolean> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '');
  // Spaces and the like are written as \040 there.
  const place = file.replace(/[\s\\]/g, (one) => `\\${one.charCodeAt(0).toString(8).padStart(3, '0')}`);
  if (mounts.split('\n').some((line) => line.split(' ')[4] === place)) return true;
  const [own, folder] = [await stat(file), await stat(dirname(file))];
  return (folder.mode & 0o1000) !== 0 && ![own.uid, folder.uid, 0].includes(process.geteuid?.() ?? 0);
}

/** `like`: whose owner and mode it gets, before it has any content. */
async function writeLike(
  file: string,
  like: { readonly mode: number; readonly uid: number; readonly gid: number },
  text: string,
): Promise<void> {
  await using handle = await open(file, 'wx', 0o600);
  const mode = like.mode & ((await keepOwner(handle, like)) ? 0o7777 : 0o7707);
  if (((await handle.stat()).mode & 0o7777) !== mode) await handle.chmod(mode);
  await handle.writeFile(text);
  await handle.sync();
}

/**
 * Without the right to give files away it stays ours, with the group where we are in that. False when it is of another group, to which
 * the rights of the old one must not go.
 */
async function keepOwner(
  handle: FileHandle,
  { uid, gid }: { readonly uid: number; readonly gid: number },
): Promise<boolean> {
  const made = await handle.stat();
  if (made.uid === uid && made.gid === gid) return true;
  const give = (owner: number) =>
    handle.chown(owner, gid).then(
      () => true,
      (thrown: unknown) => {
        // EINVAL: an owner that a container does not know.
        if (['EPERM', 'EINVAL', 'ENOTSUP', 'ENOSYS'].includes(systemCode(thrown) ?? '')) return false;
        throw thrown;
      },
    );
  return (await give(uid)) || made.gid === gid || (await give(made.uid));
}

async function putThere({ file, half, writable, before, after }: Ready): Promise<void> {
  if (half !== undefined) {
    try {
      await rename(half, file);
      // The new text has the name: a file system that cannot do this keeps its folders by itself.
      return await syncFolder(dirname(file)).catch(() => undefined);
    } catch (thrown) {
      if (!writable || !refusals.has(systemCode(thrown) ?? '')) throw thrown;
    }
  }
  await using handle = await open(file, 'r+');
  try {
    await overwrite(handle, after);
  } catch (thrown) {
    await overwrite(handle, before).catch((cause: unknown) => {
      throw new HalfWritten((thrown as Error).message, { cause });
    });
    throw thrown;
  }
}

class HalfWritten extends Error {}

async function overwrite(handle: FileHandle, text: string): Promise<void> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; )
    at += (await handle.write(bytes, at, bytes.length - at, at)).bytesWritten;
  await handle.truncate(bytes.length);
  await handle.sync();
}

async function removeHalf(half: string | undefined): Promise<void> {
  if (half !== undefined) await rm(half, { force: true }).catch(() => undefined);
}

async function explained<Result>(file: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof HelvinoError) throw cause;
    throw new HelvinoError('CONFIG_INVALID', `${file} cannot be changed: ${(cause as Error).message}`, {
      cause,
      hint:
        cause instanceof HalfWritten
          ? 'it may have a part of the new text and a part of the old: make room on its disk, and correct it by hand'
          : 'it is as it was; this user has to be able to write to its folder, or to the file itself',
    });
  }
}
