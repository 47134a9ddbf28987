/** What lives in `.tmp`: files that are being written, claims on names, and what crashes left of both. */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { HelvinoError, systemCode } from '../base/errors.ts';
import type { FsFolders } from './fs-folders.ts';
import { temporaryName, thisWriter, writerState } from './fs-writer.ts';

const fileMode = 0o600;
/** Files of writers of whom we cannot know whether they live are left alone for so long. */
const unknownWriterLifetimeMs = 24 * 60 * 60_000;
const claimPrefix = 'claim-';
const longestClaimMs = 5000;
const claimPollMs = 5;

/** A new empty file that no other writer uses. */
export async function createTemporary(folders: FsFolders): Promise<{ path: string; file: FileHandle }> {
  await folders.makeTemporary();
  const path = join(folders.temporary, temporaryName(thisWriter()));
  return { path, file: await openNew(path) };
}

/** The clock that dates objects: the file system's. */
export async function storeTime(folders: FsFolders): Promise<Date> {
  const { path, file } = await createTemporary(folders);
  try {
    return (await file.stat()).mtime;
  } finally {
    await file.close();
    await unlink(path).catch(() => undefined);
  }
}

/**
 * For file systems without hard links: the exclusive right to give `name` to a file. Returns how to give it back.
 * STORAGE_UNAVAILABLE while another writer has it.
 */
export async function claim(folders: FsFolders, name: string): Promise<() => Promise<void>> {
  const hash = createHash('sha256').update(name).digest('hex').slice(0, 32);
  const path = join(folders.temporary, `${claimPrefix}${hash}`);
  const file = await openClaim(path, { name, place: folders.root });
  try {
    await file.writeFile(thisWriter());
  } finally {
    await file.close();
  }
  return () => unlink(path).catch(() => undefined);
}

/** A claim is held for moments; one that stays longer was left by a crash. */
async function openClaim(path: string, object: { name: string; place: string }): Promise<FileHandle> {
  const begin = systemClock.monotonic();
  for (;;) {
    try {
      return await openNew(path);
    } catch (thrown) {
      if (systemCode(thrown) !== 'EEXIST') throw thrown;
      if (systemClock.monotonic() - begin > longestClaimMs) throw claimed(path, object);
      await systemClock.sleep(claimPollMs);
    }
  }
}

function claimed(path: string, { name, place }: { name: string; place: string }): HelvinoError {
  return new HelvinoError('STORAGE_UNAVAILABLE', `another run is writing ${name} in ${place}`, {
    hint: `try again; if that run has crashed, its claim ${path} is removed when the store is opened next`,
    context: { name, place, claim: path },
  });
}

/**
 * Removes what crashed writers left. A writer whose file is swept although it lives (it slept for a day on another host)
 * fails in its put, since its file is gone; nothing wrong is stored. Best effort: a store may be read-only.
 */
export async function sweepTemporary(folders: FsFolders): Promise<void> {
  try {
    const entries = await readdir(folders.temporary);
    let now: number | undefined;
    for (const entry of entries) {
      const path = join(folders.temporary, entry);
      const state = writerState(entry.startsWith(claimPrefix) ? await readFile(path, 'latin1') : entry);
      if (state === 'unknown') now ??= (await storeTime(folders)).getTime();
      const tooOld = async () =>
        now !== undefined && now - (await lstat(path)).mtimeMs > unknownWriterLifetimeMs;
      if (state === 'dead' || (state === 'unknown' && (await tooOld()))) await unlink(path);
    }
  } catch {
    // There is no such folder, another run sweeps too, or the store is read-only.
  }
}

async function openNew(path: string): Promise<FileHandle> {
  return open(
    path,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    fileMode,
  );
}
