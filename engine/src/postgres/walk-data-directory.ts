/**
 * What of a data directory belongs in a base backup: the same files that `BASE_BACKUP` sends, read from the disk.
 * https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-BASE-BACKUP (what is left out),
 * https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-LOWLEVEL-BASE-BACKUP-DATA
 */
import { lstatSync, readdirSync, readlinkSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../base/errors.ts';
import { sourceUnreadable } from './source-file.ts';

export interface DirectoryItem {
  /** As in a backup: relative to the data directory, tablespaces below `pg_tblspc`. */
  readonly path: string;
  readonly absolute: string;
  readonly type: 'file' | 'directory' | 'symlink';
  /** Of a symlink. */
  readonly target: string | undefined;
  /** Undefined for files, which are looked at once they are open. */
  readonly stat: Stats | undefined;
  /** Its pages have checksums. `file` counts the files of the relation from 0. */
  readonly relation: { readonly file: number } | undefined;
}

export interface WalkOptions {
  readonly dataDir: string;
  /** The folder of this version in a tablespace: `PG_15_202209061`. */
  readonly versionFolder: string;
  /** Oids that were there when the backup began: WAL makes the others. */
  readonly tablespaces: ReadonlySet<string>;
  readonly warn: (message: string) => void;
}

/** A Dirent, or what lstat says with a name. */
type Entry = Pick<Stats, 'isFile' | 'isDirectory' | 'isSymbolicLink'> & { readonly name: string };

/** Their content is of no use to a restored server; the folders must be there. */
const emptied = new Set([
  'pg_stat_tmp',
  'pg_replslot',
  'pg_dynshmem',
  'pg_notify',
  'pg_serial',
  'pg_snapshots',
  'pg_subtrans',
]);
const leftOut =
  /^(postmaster\.(pid|opts)|postgresql\.auto\.conf\.tmp|current_logfiles\.tmp|backup_label|tablespace_map|backup_manifest|\.DS_Store)$/;
const cacheFile = /^pg_internal\.init/;
const temporary = /^pgsql_tmp/;
/** https://www.postgresql.org/docs/current/storage-file-layout.html */
const relationFile = /^(\d+)(?:_(fsm|vm|init))?(?:\.(\d+))?$/;
const temporaryRelation = /^t\d+_\d+(?:_\w+)?(?:\.\d+)?$/;
/** Folders that hold relations: of a database, or the shared one. */
const relationFolder = /^(global|base\/\d+|pg_tblspc\/\d+\/PG_[^/]+\/\d+)$/;

/** `global/pg_control` is not in it: it is read last, by the caller. Throws SOURCE_UNREADABLE. */
export function* walkDataDirectory(options: WalkOptions): Generator<DirectoryItem> {
  yield* walk(options, '');
}

function* walk(options: WalkOptions, folder: string): Generator<DirectoryItem> {
  const entries = list(join(options.dataDir, folder));
  const unlogged = relationFolder.test(folder) ? unloggedOf(entries) : undefined;
  for (const entry of entries) {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    if (isLeftOut(path, entry.name) || (unlogged && isUnlogged(entry.name, unlogged))) continue;
    yield* item(options, entry, path);
  }
}

function isLeftOut(path: string, name: string): boolean {
  return leftOut.test(name) || cacheFile.test(name) || temporary.test(name) || path === 'global/pg_control';
}

/** Relations that have an init fork: the other forks are made from it when a server begins. */
function unloggedOf(entries: readonly Entry[]): Set<string> {
  const matches = entries.map(({ name }) => relationFile.exec(name));
  return new Set(matches.flatMap((match) => (match?.[2] === 'init' ? [match[1]!] : [])));
}

function isUnlogged(name: string, unlogged: ReadonlySet<string>): boolean {
  if (temporaryRelation.test(name)) return true;
  const match = relationFile.exec(name);
  return match !== null && match[2] !== 'init' && unlogged.has(match[1]!);
}

function* item(options: WalkOptions, entry: Entry, path: string): Generator<DirectoryItem> {
  const absolute = join(options.dataDir, path);
  const common = { path, absolute, target: undefined, stat: undefined, relation: undefined };
  if (entry.isFile()) yield { ...common, type: 'file', relation: relationOf(path, entry.name) };
  // pg_wal may be a link to another disk; its content comes over the replication connection.
  else if (path === 'pg_wal')
    yield* emptyFolders(options, ['pg_wal', 'pg_wal/archive_status', 'pg_wal/summaries']);
  else if (emptied.has(path)) yield* emptyFolders(options, [path]);
  else if (entry.isDirectory()) {
    yield* directory(common);
    yield* walk(options, path);
  } else if (entry.isSymbolicLink() && /^pg_tblspc\/\d+$/.test(path)) yield* tablespace(options, path);
  else options.warn(`${path} of the data directory is neither a file nor a folder: it is left out`);
}

/** The link, and below it the folder of this version; other majors may have theirs beside it. */
function* tablespace(options: WalkOptions, path: string): Generator<DirectoryItem> {
  const absolute = join(options.dataDir, path);
  const stat = look(absolute);
  if (stat === undefined || !options.tablespaces.has(path.slice('pg_tblspc/'.length))) return;
  const common = { target: undefined, relation: undefined };
  yield { ...common, path, absolute, type: 'symlink', target: readlinkSync(absolute), stat };
  const own = `${path}/${options.versionFolder}`;
  const folder = join(options.dataDir, own);
  // Not taken for one that was dropped: it may be on a disk that only the server sees.
  if (!look(folder)?.isDirectory()) throw sourceUnreadable(folder, 'the tablespace has no such folder here');
  yield* directory({ path: own, absolute: folder });
  yield* walk(options, own);
}

function* emptyFolders(options: WalkOptions, names: readonly string[]): Generator<DirectoryItem> {
  for (const path of names) {
    const absolute = `${join(options.dataDir, path)}/`;
    // A link's target may be on a disk that is not to be seen here; a restored server needs the folder all the same.
    const stat = look(absolute) ?? (path.endsWith('/summaries') ? undefined : look(`${options.dataDir}/`));
    if (stat) yield { path, absolute, type: 'directory', target: undefined, stat, relation: undefined };
  }
}

function* directory({ path, absolute }: Pick<DirectoryItem, 'path' | 'absolute'>): Generator<DirectoryItem> {
  const stat = look(absolute);
  if (stat) yield { path, absolute, type: 'directory', target: undefined, stat, relation: undefined };
}

function relationOf(path: string, name: string): DirectoryItem['relation'] {
  const match = relationFolder.test(path.slice(0, path.lastIndexOf('/'))) ? relationFile.exec(name) : null;
  return match ? { file: Number(match[3] ?? 0) } : undefined;
}

/** Empty when the folder is gone: a database or tablespace that was dropped meanwhile. */
function list(folder: string): Entry[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (thrown) {
    if (systemCode(thrown) !== 'ENOENT') throw sourceUnreadable(folder, thrown);
    // Where the file system does not tell types, Node.js asks for each name, and one that has gone meanwhile is enough.
    return (thrown as { syscall?: string }).syscall === 'scandir' ? [] : listOneByOne(folder);
  }
}

function listOneByOne(folder: string): Entry[] {
  return readdirSync(folder).flatMap((name) => {
    const stat = look(join(folder, name));
    return stat ? [Object.assign(stat, { name })] : [];
  });
}

function look(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch (thrown) {
    if (systemCode(thrown) === 'ENOENT') return undefined;
    throw sourceUnreadable(path, thrown);
  }
}
