/**
 * A scratch table (SQLite, on disk) that turns "which chunks make this file" into "which files does this pack serve", so
 * that each pack is read once, in one pass, with memory that does not grow with the backup.
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { ChunkRef } from '../../repository/index.ts';

/** One place to which bytes of a chunk go. */
export interface WantedPiece {
  readonly chunk: ChunkRef;
  readonly path: string;
  readonly at: number;
  readonly start: number;
  readonly length: number;
}

interface Row {
  readonly pack: string;
  readonly keyId: string;
  readonly number: number;
  readonly place: number;
  readonly stored: number;
  readonly raw: number;
  readonly start: number;
  readonly length: number;
  readonly at: number;
  readonly path: string;
  readonly originPack: string | null;
  readonly originNumber: number | null;
}

export class RestoreIndex {
  readonly #database: DatabaseSync;
  readonly #addFile: StatementSync;
  readonly #addPiece: StatementSync;
  readonly #has: StatementSync;

  constructor() {
    // In memory up to its cache, then in a file without a name: nothing is left, however this process ends.
    this.#database = new DatabaseSync('');
    this.#database.exec(`pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -4096;
      create table file (id integer primary key, path text unique not null, target text not null);
      create table piece (pack text, keyId text, number int, place int, stored int, raw int, start int, length int, at int, file int,
        originPack text, originNumber int);
      begin`);
    this.#addFile = this.#database.prepare('insert into file (path, target) values (?, ?)');
    this.#addPiece = this.#database.prepare('insert into piece values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
    this.#has = this.#database.prepare('select 1 from file where path = ?');
  }

  /** `path` as in the backup, `target` where its bytes are written. Returns the number to give to `addPiece`. */
  addFile(path: string, target: string): number {
    return Number(this.#addFile.run(path, target).lastInsertRowid);
  }

  addPiece(file: number, { chunk, at, start, length }: Omit<WantedPiece, 'path'>): void {
    const { pack, keyId, index, offset, stored, raw, origin } = chunk;
    const from = [origin?.pack ?? null, origin?.index ?? null];
    this.#addPiece.run(pack, keyId, index, offset, stored, raw, start, length, at, file, ...from);
  }

  has(path: string): boolean {
    return this.#has.get(path) !== undefined;
  }

  /** Bytes to read from packs, for progress. */
  wantedBytes(): number {
    const row = this.#database
      .prepare('select sum(stored) as bytes from (select distinct pack, number, stored from piece)')
      .get();
    return Number(row?.bytes ?? 0);
  }

  /** In order of pack and place. */
  *pieces(): Generator<WantedPiece> {
    const rows = this.#database
      .prepare(
        'select piece.*, file.target as path from piece join file on file.id = piece.file order by pack, place',
      )
      .iterate() as unknown as Iterable<Row>;
    let chunk: ChunkRef | undefined;
    for (const row of rows) {
      if (chunk?.pack !== row.pack || chunk.index !== row.number) {
        chunk = {
          pack: row.pack,
          keyId: row.keyId,
          index: row.number,
          offset: row.place,
          stored: row.stored,
          raw: row.raw,
          origin:
            row.originPack === null ? undefined : { pack: row.originPack, index: row.originNumber ?? 0 },
        };
      }
      yield { chunk, path: row.path, at: row.at, start: row.start, length: row.length };
    }
  }

  close(): void {
    this.#database.close();
  }
}
