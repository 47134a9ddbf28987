/**
 * Lays out the directory tree: folders, links and files of the right size, mode and owner, all content still zero; and
 * fills the restore index with what has to be written. With an existing tree only what differs is planned.
 */
import {
  chmodSync,
  closeSync,
  existsSync,
  fchmodSync,
  fchownSync,
  ftruncateSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import {
  type ContentHasher,
  contentHasherOf,
  type Extent,
  type FileEntry,
  type Manifest,
  type Repository,
} from '../../repository/index.ts';
import { differingExtents } from './differing.ts';
import type { Owner } from './owner.ts';
import type { RestoreIndex } from './restore-index.ts';
import type { TablespaceTarget } from './tablespaces.ts';
import { targetError } from './target.ts';

/** The control file is written under this name and renamed last: without it no server starts on the directory. */
export const controlFile = 'global/pg_control';
export const controlFileAside = 'global/pg_control.helvino';

export interface LayOutOptions {
  readonly repository: Repository;
  readonly manifest: Manifest;
  readonly directory: string;
  readonly tablespaces: readonly TablespaceTarget[];
  readonly owner: Owner | 'recorded' | undefined;
  /** Compare with what is there. */
  readonly existing: boolean;
  readonly index: RestoreIndex;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export async function layOut(options: LayOutOptions): Promise<{ unchanged: number }> {
  const { repository, manifest, index, progress, signal } = options;
  progress.phase(
    options.existing ? 'comparing with what is there' : 'laying out files',
    manifest.totals.files,
    'items',
  );
  let unchanged = 0;
  for await (const file of repository.files(manifest)) {
    signal.throwIfAborted();
    const target = join(options.directory, file.path === controlFile ? controlFileAside : file.path);
    try {
      if (file.type === 'directory') makeFolder(target, file, options);
      else if (file.type === 'symlink') makeLink(target, file, options);
      else unchanged += makeFile(target, file, options);
    } catch (thrown) {
      throw targetError(thrown, target);
    }
    if (file.type !== 'file') index.addFile(file.path, target);
    progress.advance(1);
  }
  return { unchanged };
}

function makeFolder(target: string, file: FileEntry, options: LayOutOptions): void {
  if (options.existing) {
    tellLink(target, options.progress);
    removeUnless(target, 'directory');
  }
  mkdirSync(target, { recursive: true, mode: file.mode });
  chmodSync(target, file.mode);
  own(target, file, options);
}

function makeLink(target: string, file: FileEntry, options: LayOutOptions): void {
  const tablespace = options.tablespaces.find((t) => file.path === `pg_tblspc/${t.oid}`);
  // A server sends no other links; followed, they would lead out of the directory.
  if (!tablespace)
    throw new HelvinoError(
      'REPOSITORY_DAMAGED',
      `backup ${options.manifest.id} has a link at ${JSON.stringify(file.path)}, where there is no tablespace`,
      { hint: 'no PostgreSQL server makes such a backup: find out who did', context: { path: file.path } },
    );
  const { to } = tablespace;
  if (options.existing && existsNoFollow(target)) {
    if (lstatSync(target).isSymbolicLink() && readlinkSync(target) === to) return;
    rmSync(target, { recursive: true });
  }
  mkdirSync(dirname(to), { recursive: true });
  mkdirSync(to, { recursive: true, mode: 0o700 });
  own(to, file, options);
  symlinkSync(to, target);
  own(target, file, options);
}

/** Returns the bytes that are there already. */
function makeFile(target: string, file: FileEntry, options: LayOutOptions): number {
  if (options.existing) removeUnless(target, 'file');
  const known = options.existing && file.path !== controlFile && existsSync(target);
  const fd = openSync(target, known ? 'r+' : 'w+', file.mode);
  let differing: Iterable<{ at: number; extent: Extent }>;
  try {
    differing = known ? differingExtents(fd, file, hasherFor(options)) : everyExtent(file);
    fchmodSync(fd, file.mode);
    if (options.owner !== undefined) {
      const { uid, gid } = options.owner === 'recorded' ? file : options.owner;
      fchownSync(fd, uid, gid);
    }
    ftruncateSync(fd, file.size);
  } finally {
    closeSync(fd);
  }
  const number = options.index.addFile(file.path, target);
  let wanted = 0;
  for (const { at, extent } of differing) {
    wanted += extent.length;
    if (extent.chunk)
      options.index.addPiece(number, { chunk: extent.chunk, at, start: extent.start, length: extent.length });
  }
  return file.size - wanted;
}

/** Hashes in a backup are under the catalog key of its time. */
function hasherFor({ repository, manifest }: LayOutOptions): ContentHasher {
  return contentHasherOf(repository.ring.find(manifest.hashKeyId) ?? repository.ring.current);
}

function* everyExtent(file: FileEntry): Generator<{ at: number; extent: Extent }> {
  let at = 0;
  for (const extent of file.extents) {
    yield { at, extent };
    at += extent.length;
  }
}

function own(target: string, file: FileEntry, { owner }: LayOutOptions): void {
  if (owner === undefined) return;
  const { uid, gid } = owner === 'recorded' ? file : owner;
  lchownSync(target, uid, gid);
}

/** As `initdb --waldir` makes one: WAL was on a disk of its own, and no longer is. */
function tellLink(target: string, progress: Progress): void {
  if (!lstatSync(target, { throwIfNoEntry: false })?.isSymbolicLink()) return;
  const message = `${target} was a link to ${readlinkSync(target)}; it is a folder now, and what is there was left as it is`;
  progress.note('warn', message);
}

function existsNoFollow(target: string): boolean {
  return lstatSync(target, { throwIfNoEntry: false }) !== undefined;
}

function removeUnless(target: string, type: 'file' | 'directory'): void {
  const facts = lstatSync(target, { throwIfNoEntry: false });
  if (facts === undefined) return;
  if (type === 'file' ? facts.isFile() : facts.isDirectory()) return;
  rmSync(target, { recursive: true });
}
