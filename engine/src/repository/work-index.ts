/**
 * A scratch table of files, on disk (SQLite), so that memory does not grow with the number of files: holds the parent's
 * files for look-up by path, and gathers the new files, which arrive in the server's order, for reading in order of path.
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { FileEntry } from './extents.ts';
import { decodeFileBlock, encodeFileBlock } from './file-block.ts';

export class WorkIndex {
  readonly #database: DatabaseSync;
  readonly #statements: {
    addParent: StatementSync;
    parent: StatementSync;
    add: StatementSync;
    files: StatementSync;
  };

  constructor() {
    // Without a name SQLite keeps the database in memory up to its cache, then in a file that has no name either: nothing
    // is left behind, however this process ends.
    this.#database = new DatabaseSync('');
    this.#database.exec(`pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -16384;
      create table parent (path text primary key, entry blob not null) without rowid;
      create table file (path text primary key, entry blob not null) without rowid;
      begin`);
    this.#statements = {
      addParent: this.#database.prepare('insert into parent values (?, ?)'),
      parent: this.#database.prepare('select entry from parent where path = ?'),
      add: this.#database.prepare('insert or replace into file values (?, ?)'),
      files: this.#database.prepare('select path, entry from file order by path'),
    };
  }

  addParent(file: FileEntry): void {
    this.#statements.addParent.run(file.path, encodeFileBlock([file]));
  }

  parent(path: string): FileEntry | undefined {
    const row = this.#statements.parent.get(path) as { entry: Uint8Array } | undefined;
    return row && decodeOne(row.entry, path);
  }

  /** Files of the parent, in order of path. */
  *parents(): Generator<FileEntry> {
    for (const row of this.#database.prepare('select path, entry from parent order by path').iterate()) {
      yield decodeOne(row.entry as Uint8Array, String(row.path));
    }
  }

  add(file: FileEntry): void {
    this.#statements.add.run(file.path, encodeFileBlock([file]));
  }

  /** New files, in order of path (bytes of UTF-8). */
  *files(): Generator<FileEntry> {
    for (const row of this.#statements.files.iterate())
      yield decodeOne(row.entry as Uint8Array, String(row.path));
  }

  close(): void {
    this.#database.close();
  }
}

function decodeOne(entry: Uint8Array, path: string): FileEntry {
  return decodeFileBlock(entry, `the scratch entry of ${path}`).next().value as FileEntry;
}
