/**
 * The folders of a store on a disk: made when needed, durable, never through a symbolic link, removed when empty.
 *
 * A file is only as durable as the entries of every folder above it. So after a file got its name, its folder is fsynced,
 * and so is each folder above that is not known to be durable. What is known is kept by identity (device, inode, time of
 * birth), since another process may remove an empty folder and a third make it anew.
 */
import type { BigIntStats } from 'node:fs';
import { lstat, mkdir, realpath, rmdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { HelvinoError, systemCode } from '../base/errors.ts';
import { makeFolders } from '../base/make-folders.ts';
import { syncFolder } from '../base/sync-path.ts';
import { rootIsAway } from './fs-errors.ts';
import type { FsHooks } from './fs-hooks.ts';
import { temporaryFolder } from './names.ts';

const folderMode = 0o700;
/** Above this the memory of durable folders is dropped; they are then fsynced once more. */
const mostRemembered = 10_000;

export class FsFolders {
  readonly root: string;
  readonly #hooks: FsHooks;
  /** Of the root when it was opened or made; undefined while there is none. */
  #rootIdentity: string | undefined;
  readonly #durable = new Map<string, string>();

  private constructor(root: string, hooks: FsHooks) {
    this.root = root;
    this.#hooks = hooks;
  }

  /** A root that does not exist yet is made by the first write. */
  static async open(root: string, hooks: FsHooks): Promise<FsFolders> {
    const real = await realpath(root).catch((thrown: unknown) => {
      if (systemCode(thrown) === 'ENOENT') return resolve(root);
      throw thrown;
    });
    const folders = new FsFolders(real, hooks);
    const facts = await lookAt(real);
    if (facts !== undefined && !facts.isDirectory()) throw notAFolder(real, facts);
    folders.#rootIdentity = facts && `${facts.dev}:${facts.ino}`;
    return folders;
  }

  path(name: string): string {
    return join(this.root, name);
  }

  get temporary(): string {
    return join(this.root, temporaryFolder);
  }

  /**
   * Throws STORAGE_UNAVAILABLE unless the root is the folder that was opened. An unmounted disk leaves an empty folder:
   * without this, every object would seem absent, and new ones would go to the wrong disk.
   */
  async assertRoot(): Promise<void> {
    const facts = await lookAt(this.root);
    const identity = facts && `${facts.dev}:${facts.ino}`;
    // There was none: if it exists now, another process has made it.
    this.#rootIdentity ??= identity;
    if (this.#rootIdentity !== identity) throw rootIsAway(this.root);
  }

  /** Makes the folder that holds `name`, and those above it. They become durable with `sync`. */
  async makeFor(name: string): Promise<void> {
    await this.#makeRoot();
    let folder = this.root;
    for (const part of name.split('/').slice(0, -1)) {
      folder = join(folder, part);
      await this.#make(folder);
    }
  }

  async makeTemporary(): Promise<void> {
    await this.#makeRoot();
    await this.#make(this.temporary);
  }

  /** Makes the entry of `name` durable, and the entries of all folders on the way to it. */
  async sync(name: string): Promise<void> {
    const fresh: [string, string][] = [];
    let folder = dirname(this.path(name));
    await this.#hooks.point('folder.sync');
    await makeDurable(folder);
    while (folder !== this.root) {
      const identity = identityOf(await lstat(folder, { bigint: true }));
      if (identity !== undefined && this.#durable.get(folder) === identity) break;
      await this.#hooks.point('folder.sync-parent');
      await makeDurable(dirname(folder));
      if (identity !== undefined) fresh.push([folder, identity]);
      folder = dirname(folder);
    }
    if (this.#durable.size > mostRemembered) this.#durable.clear();
    for (const [known, identity] of fresh) this.#durable.set(known, identity);
  }

  /**
   * Removes the folders above `name` that are empty, then makes that durable. Safe beside a put into such a folder: rmdir
   * takes only an empty one, and a put that finds its folder gone makes it again.
   */
  async prune(name: string): Promise<void> {
    let folder = dirname(this.path(name));
    while (folder !== this.root) {
      await this.#hooks.point('folder.remove');
      try {
        await rmdir(folder);
      } catch (thrown) {
        // In use, or not ours to remove: an empty folder does no harm.
        if (systemCode(thrown) !== 'ENOENT') break;
      }
      this.#durable.delete(folder);
      folder = dirname(folder);
    }
    await this.#hooks.point('folder.sync');
    await syncNearest(folder, this.root);
  }

  /** Throws when what has the name of an object is none: nobody may take it for one that is stored. */
  async assertObject(name: string): Promise<void> {
    const facts = await lookAt(this.path(name));
    if (facts !== undefined && !facts.isFile()) throw notAFile(this.path(name), facts);
  }

  /** Throws when a folder on the way to `name` is a symbolic link; false when one is missing or a file. */
  async reaches(name: string): Promise<boolean> {
    let folder = this.root;
    for (const part of name.split('/').slice(0, -1)) {
      folder = join(folder, part);
      const facts = await lookAt(folder);
      if (facts?.isSymbolicLink()) throw notAFolder(folder, facts);
      if (!facts?.isDirectory()) return false;
    }
    return true;
  }

  async #makeRoot(): Promise<void> {
    if (this.#rootIdentity !== undefined) return this.assertRoot();
    await this.#hooks.point('root.make');
    const first = await makeFolders(this.root, folderMode).catch((thrown: unknown) => {
      throw systemCode(thrown) === 'ENOENT' ? cannotBeMade(this.root, thrown) : thrown;
    });
    const facts = await lstat(this.root, { bigint: true });
    for (let made = this.root; first !== undefined && made.length >= first.length; made = dirname(made)) {
      await makeDurable(dirname(made));
    }
    this.#rootIdentity ??= `${facts.dev}:${facts.ino}`;
  }

  async #make(folder: string): Promise<void> {
    const facts = await lookAt(folder);
    if (facts?.isDirectory()) return;
    if (facts !== undefined) throw notAFolder(folder, facts);
    await this.#hooks.point('folder.make');
    try {
      await mkdir(folder, { mode: folderMode });
    } catch (thrown) {
      if (systemCode(thrown) !== 'EEXIST') throw thrown;
      const other = await lookAt(folder);
      if (other !== undefined && !other.isDirectory()) throw notAFolder(folder, other);
    }
  }
}

/** Undefined where the file system keeps no time of birth: an inode number alone may be used again. */
function identityOf(facts: BigIntStats): string | undefined {
  return facts.birthtimeNs === 0n ? undefined : `${facts.dev}:${facts.ino}:${facts.birthtimeNs}`;
}

/** Undefined when nothing is there. */
async function lookAt(path: string): Promise<BigIntStats | undefined> {
  try {
    return await lstat(path, { bigint: true });
  } catch (thrown) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(thrown) ?? '')) return undefined;
    throw thrown;
  }
}

async function makeDurable(path: string): Promise<void> {
  await syncFolder(path).catch((thrown: unknown) => {
    // File systems that keep folders durable by themselves (some network ones) know no fsync of a folder.
    if (!['EINVAL', 'ENOTSUP', 'EBADF'].includes(systemCode(thrown) ?? '')) throw thrown;
  });
}

/** Others may remove folders meanwhile: then the entry that vanished is in the folder above. */
async function syncNearest(start: string, root: string): Promise<void> {
  for (let folder = start; folder.length >= root.length; folder = dirname(folder)) {
    try {
      return await makeDurable(folder);
    } catch (thrown) {
      if (!['ENOENT', 'ENOTDIR'].includes(systemCode(thrown) ?? '')) throw thrown;
    }
  }
}

/** ENOENT would be taken for a folder that another run has removed, and tried again. */
function cannotBeMade(root: string, cause: unknown): HelvinoError {
  return new HelvinoError(
    'STORAGE_DENIED',
    `the folder ${root} cannot be made: ${(cause as Error).message}`,
    {
      hint: 'choose a folder on a file system where folders can be made',
      cause,
      context: { place: root },
    },
  );
}

function notAFolder(path: string, facts: BigIntStats): HelvinoError {
  if (facts.isSymbolicLink()) return notFollowed(path, 'move or mount the folder itself there');
  return new HelvinoError('STORAGE_DENIED', `${path} is a file where a folder is needed`, {
    hint: 'if helvino did not make this file, move it away',
    context: { path },
  });
}

function notAFile(path: string, facts: BigIntStats): HelvinoError {
  if (facts.isSymbolicLink()) return notFollowed(path, 'move it away');
  const what = facts.isDirectory() ? 'a folder' : 'no file';
  return new HelvinoError('STORAGE_DENIED', `${path} is ${what} where a file is needed`, {
    hint: 'if helvino did not make this, move it away',
    context: { path },
  });
}

function notFollowed(path: string, hint: string): HelvinoError {
  const message = `${path} is a symbolic link, which is not followed inside a store`;
  return new HelvinoError('STORAGE_DENIED', message, { hint, context: { path } });
}
