/**
 * Objects as files below one folder. How `put` keeps the contract, in this order:
 *
 * 1. the bytes go to a new file `.tmp/<writer>-<random>` on the same file system, which is fsynced: no reader looks there;
 * 2. link(2) gives the file its final name: atomic, and it fails when the name is taken. Without `ifAbsent`: rename(2);
 * 3. the name in `.tmp` is removed;
 * 4. the folder, and every folder above that may be new, are fsynced.
 *
 * A crash before 2 leaves a temporary file (swept by a later `openFsDriver`), after 2 the whole object. Where the file
 * system knows no hard links, step 2 is: create `.tmp/claim-<hash of the name>` with O_EXCL, see that the name is free,
 * rename(2), remove the claim. All or nothing still, since rename is atomic; one winner still, among writers that claim.
 *
 * Files get mode 0600 and folders 0700. Names in a store never lead through a symbolic link when something is written.
 */
import { constants } from 'node:fs';
import { type FileHandle, link, lstat, open, readdir, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { HelvinoError, systemCode } from '../base/errors.ts';
import { mapParallel } from '../streams/index.ts';
import type { ByteRange, Capabilities, ObjectFacts, PutOptions, StorageDriver } from './driver.ts';
import { readBody, readDirect, writeBody } from './fs-body.ts';
import { fsError } from './fs-errors.ts';
import { FsFolders } from './fs-folders.ts';
import { type FsHooks, noHooks } from './fs-hooks.ts';
import { claim, createTemporary, storeTime, sweepTemporary } from './fs-temporary.ts';
import { assertFits, assertObjectName, assertPrefix, assertRange, isObjectName } from './names.ts';

/** How often a put makes its folders again when others remove them as empty at the same time. */
const mostRounds = 32;
const listConcurrency = 16;
const noHardLinks = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'];

/**
 * A store in the folder `root`, which is made (mode 0700) by the first write if it does not exist. Sweeps temporary files
 * of writers that are known to be dead, and those of unknown writers after 24 h. `hooks` are for crash tests.
 * Throws STORAGE_DENIED (also where a file is there), STORAGE_UNAVAILABLE.
 */
export async function openFsDriver(options: {
  readonly root: string;
  readonly hooks?: FsHooks;
}): Promise<StorageDriver> {
  const hooks = options.hooks ?? noHooks;
  try {
    const folders = await FsFolders.open(options.root, hooks);
    await sweepTemporary(folders);
    return new FsDriver(folders, hooks);
  } catch (thrown) {
    throw fsError(thrown, 'open', 'the store', options.root);
  }
}

class FsDriver implements StorageDriver {
  readonly capabilities: Capabilities;
  readonly #folders: FsFolders;
  readonly #hooks: FsHooks;

  constructor(folders: FsFolders, hooks: FsHooks) {
    this.#folders = folders;
    this.#hooks = hooks;
    this.capabilities = { kind: 'fs', place: folders.root, retention: false };
  }

  async put(name: string, body: readonly Uint8Array[], options: PutOptions): Promise<void> {
    assertObjectName(name);
    await this.#do('write', name, async () => {
      await this.#makeFolders(name);
      // Spares writing the bytes; link decides.
      if (options.ifAbsent && (await this.#isTaken(name))) return this.#refuse(name);
      const temporary = await this.#writeTemporary(body);
      try {
        if (options.ifAbsent) await this.#publishNew(temporary, name);
        else await this.#publishOver(temporary, name);
      } finally {
        await this.#hooks.point('put.unlink');
        // Gone after a rename; otherwise a leftover name is only untidy and is swept later.
        await unlink(temporary).catch(() => undefined);
      }
      await this.#makeDurable(name);
      await this.#hooks.point('put.done');
    });
  }

  async get(name: string, range?: ByteRange, into?: Uint8Array): Promise<Uint8Array> {
    assertObjectName(name);
    assertRange(name, range, into);
    return this.#do('read', name, async () => {
      const { file, size } = await this.#openObject(name);
      try {
        const { offset, length } = range ?? { offset: 0, length: size };
        const cut = { name, place: this.#folders.root, offset, length };
        if (offset + length > size) throw shortRead({ ...cut, size });
        if (into !== undefined) assertFits(name, length, into);
        // Not from Node's shared pool: a caller may hand the memory to a worker.
        const target = into === undefined ? Buffer.allocUnsafeSlow(length) : into.subarray(0, length);
        const direct = await readDirect(this.#folders.path(name), target, offset);
        const got = direct + (await readBody(file, target.subarray(direct), offset + direct));
        if (got < length) throw shortRead({ ...cut, size: offset + got });
        return target;
      } finally {
        await file.close();
      }
    });
  }

  async head(name: string): Promise<ObjectFacts | undefined> {
    assertObjectName(name);
    return this.#do('look at', name, async () => {
      const facts = await this.#facts(name);
      if (facts === undefined) await this.#folders.assertRoot();
      return facts;
    });
  }

  async *list(prefix: string): AsyncGenerator<ObjectFacts, void, void> {
    assertPrefix(prefix);
    const slash = prefix.lastIndexOf('/') + 1;
    const what = `objects ${prefix}*`;
    await this.#do('list', what, () => this.#folders.assertRoot());
    const names = this.#names(prefix.slice(0, slash), prefix.slice(slash));
    const facts = mapParallel(names, listConcurrency, (name) =>
      this.#do('look at', name, () => this.#facts(name)),
    );
    // What was removed meanwhile has no facts any more.
    for await (const object of facts) if (object !== undefined) yield object;
    // A disk that was unmounted meanwhile looks like an empty store.
    await this.#do('list', what, () => this.#folders.assertRoot());
  }

  async remove(name: string): Promise<void> {
    assertObjectName(name);
    await this.#do('remove', name, async () => {
      await this.#folders.assertRoot();
      if (!(await this.#folders.reaches(name))) return;
      await this.#hooks.point('remove.unlink');
      await unlink(this.#folders.path(name)).catch((thrown: unknown) => {
        // A folder is no object.
        if (!isMissing(thrown) && systemCode(thrown) !== 'EISDIR') throw thrown;
      });
      await this.#folders.prune(name);
      await this.#hooks.point('remove.done');
    });
  }

  async extendRetention(name: string): Promise<void> {
    if ((await this.head(name)) === undefined) throw this.#notFound(name);
  }

  async now(): Promise<Date> {
    return this.#do('read', 'the clock', () => storeTime(this.#folders));
  }

  async close(): Promise<void> {}

  async #writeTemporary(body: readonly Uint8Array[]): Promise<string> {
    await this.#hooks.point('put.open');
    const { path, file } = await createTemporary(this.#folders);
    try {
      try {
        await writeBody({ file, path }, body, this.#hooks);
        await this.#hooks.point('put.sync');
        await file.sync();
      } finally {
        await file.close();
      }
      return path;
    } catch (thrown) {
      await unlink(path).catch(() => undefined);
      throw thrown;
    }
  }

  async #publishNew(temporary: string, name: string): Promise<void> {
    const path = this.#folders.path(name);
    await this.#inFolders(name, async () => {
      try {
        await this.#hooks.point('put.link');
        await link(temporary, path);
      } catch (thrown) {
        const errno = systemCode(thrown) ?? '';
        // Over NFS a link that was made can be answered by EEXIST, when the first answer got lost.
        if (errno === 'EEXIST') return (await isSameFile(temporary, path)) ? undefined : this.#refuse(name);
        if (!noHardLinks.includes(errno)) throw thrown;
        await this.#renameIfFree(temporary, name);
      }
    });
  }

  async #publishOver(temporary: string, name: string): Promise<void> {
    await this.#inFolders(name, async () => {
      await this.#hooks.point('put.rename');
      await rename(temporary, this.#folders.path(name));
    });
  }

  async #renameIfFree(temporary: string, name: string): Promise<void> {
    await this.#hooks.point('put.claim');
    const release = await claim(this.#folders, name);
    try {
      if (await this.#isTaken(name)) return await this.#refuse(name);
      await this.#hooks.point('put.rename');
      await rename(temporary, this.#folders.path(name));
    } finally {
      await release();
    }
  }

  /** Whoever is told that an object exists may rely on it: its name is made durable first, whoever wrote it. */
  async #refuse(name: string): Promise<never> {
    await this.#folders.assertObject(name);
    await this.#makeDurable(name);
    throw new HelvinoError('STORAGE_EXISTS', `${name} exists in ${this.#folders.root}`, {
      hint: 'nothing is overwritten; if the same thing was stored before, nothing is to be done',
      context: { name, place: this.#folders.root },
    });
  }

  async #makeDurable(name: string): Promise<void> {
    try {
      await this.#folders.sync(name);
    } catch (thrown) {
      if (!isMissing(thrown)) throw thrown;
      // Another has removed the object since, with its folder: nothing is left to be durable.
      await this.#folders.assertRoot();
    }
  }

  async #makeFolders(name: string): Promise<void> {
    await this.#inFolders(name, () => this.#folders.makeFor(name));
  }

  /** Runs a step that needs the folders of `name`; when another has removed one as empty, it is made again. */
  async #inFolders(name: string, step: () => Promise<void>): Promise<void> {
    for (let round = 1; ; round++) {
      try {
        if (round > 1) await this.#folders.makeFor(name);
        return await step();
      } catch (thrown) {
        if (systemCode(thrown) !== 'ENOENT') throw thrown;
        if (round < mostRounds) continue;
        throw new HelvinoError(
          'STORAGE_UNAVAILABLE',
          `the folder of ${name} in ${this.#folders.root} keeps vanishing`,
          {
            hint: 'something else removes folders or temporary files there; stop it, then try again',
            cause: thrown,
            context: { name, place: this.#folders.root },
          },
        );
      }
    }
  }

  /** In order of full names: a folder `a` sorts as `a/`, after `a-b` and `a.b`. Holds one folder's names a level. */
  async *#names(folder: string, start: string): AsyncGenerator<string, void, void> {
    const keys = await this.#do('list', `${folder}*`, () => this.#keys(folder));
    for (const key of keys) {
      if (!key.startsWith(start)) continue;
      if (key.endsWith('/')) yield* this.#names(`${folder}${key}`, '');
      else yield `${folder}${key}`;
    }
  }

  /** What is in a folder, folders with a `/` at the end, without what cannot be an object's (`lost+found`, `.tmp`). */
  async #keys(folder: string): Promise<string[]> {
    const keys: string[] = [];
    try {
      for (const entry of await readdir(join(this.#folders.root, folder), { withFileTypes: true })) {
        if (!isObjectName(folder + entry.name)) continue;
        if (entry.isFile()) keys.push(entry.name);
        if (entry.isDirectory()) keys.push(`${entry.name}/`);
      }
    } catch (thrown) {
      if (!isMissing(thrown)) throw thrown;
      await this.#folders.assertRoot();
    }
    return keys.sort();
  }

  async #facts(name: string): Promise<ObjectFacts | undefined> {
    try {
      const facts = await lstat(this.#folders.path(name));
      return facts.isFile() ? { name, size: facts.size, modified: facts.mtime } : undefined;
    } catch (thrown) {
      if (isMissing(thrown)) return undefined;
      throw thrown;
    }
  }

  async #isTaken(name: string): Promise<boolean> {
    return (await lstat(this.#folders.path(name)).catch(() => undefined)) !== undefined;
  }

  async #openObject(name: string): Promise<{ file: FileHandle; size: number }> {
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    let file: FileHandle | undefined;
    try {
      file = await open(this.#folders.path(name), flags);
      const facts = await file.stat();
      if (facts.isFile()) return { file, size: facts.size };
    } catch (thrown) {
      if (!isMissing(thrown) && systemCode(thrown) !== 'ELOOP') throw thrown;
    }
    await file?.close();
    await this.#folders.assertRoot();
    throw this.#notFound(name);
  }

  #notFound(name: string): HelvinoError {
    return new HelvinoError('STORAGE_NOT_FOUND', `${name} is not in ${this.#folders.root}`, {
      hint: 'if an object vanished, helvino verify says what it means for which backup',
      context: { name, place: this.#folders.root },
    });
  }

  async #do<Result>(doing: string, name: string, work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (thrown) {
      throw fsError(thrown, doing, name, this.#folders.root);
    }
  }
}

function isMissing(thrown: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes(systemCode(thrown) ?? '');
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([lstat(one, { bigint: true }), lstat(other, { bigint: true })]).catch(
    () => [],
  );
  return a !== undefined && b !== undefined && a.dev === b.dev && a.ino === b.ino;
}

function shortRead(facts: {
  name: string;
  place: string;
  offset: number;
  length: number;
  size: number;
}): HelvinoError {
  const { name, place, offset, length, size } = facts;
  const message = `${name} in ${place} has ${size} bytes, but ${length} at ${offset} were asked for`;
  return new HelvinoError('STORAGE_SHORT_READ', message, {
    hint: 'the object was cut after it was written; run helvino verify',
    context: facts,
  });
}
