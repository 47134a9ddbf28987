/**
 * Where every chunk of the packs lies, as their directories say: what the file blocks say is compared with it. In a scratch
 * table on disk (SQLite), since there may be millions of chunks; the packs that were asked for last are kept.
 */
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { HelvinoError } from '../../base/errors.ts';
import { type ChunkRef, type PackContents, type PackList, packName } from '../../repository/index.ts';

const keptPacks = 64;

export class ChunkPlaces {
  readonly #packs: PackList;
  readonly #database: DatabaseSync;
  readonly #add: StatementSync;
  readonly #get: StatementSync;
  /** By number of the pack, the one that was asked for last at the end; undefined: it could not be read. */
  readonly #kept = new Map<number, DataView | undefined>();

  constructor(packs: PackList) {
    this.#packs = packs;
    // In memory up to its cache, then in a file without a name: nothing is left, however this process ends.
    this.#database = new DatabaseSync('');
    this.#database.exec(`pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -2048;
      create table place (pack integer primary key, chunks blob not null);
      begin`);
    this.#add = this.#database.prepare('insert or replace into place values (?, ?)');
    this.#get = this.#database.prepare('select chunks from place where pack = ?');
  }

  add(contents: PackContents): void {
    const number = this.#packs.numberOf(contents.identity.id);
    if (number === undefined) return;
    const numbers = Buffer.allocUnsafe(contents.chunks.length * 24);
    for (const [i, { offset, stored, raw }] of contents.chunks.entries()) {
      numbers.writeDoubleLE(offset, i * 24);
      numbers.writeDoubleLE(stored, i * 24 + 8);
      numbers.writeDoubleLE(raw, i * 24 + 16);
    }
    this.#add.run(number, numbers);
  }

  /** True also for packs that could not be read: that is a fault of its own. */
  matches({ pack, index, offset, stored, raw }: ChunkRef): boolean {
    const number = this.#packs.numberOf(pack);
    const numbers = number === undefined ? undefined : this.#chunksOf(number);
    if (numbers === undefined) return true;
    const at = index * 24;
    return (
      at + 24 <= numbers.byteLength &&
      numbers.getFloat64(at, true) === offset &&
      numbers.getFloat64(at + 8, true) === stored &&
      numbers.getFloat64(at + 16, true) === raw
    );
  }

  close(): void {
    this.#database.close();
  }

  #chunksOf(number: number): DataView | undefined {
    const known = this.#kept.has(number);
    const numbers = known ? this.#kept.get(number) : this.#read(number);
    if (known) this.#kept.delete(number);
    this.#kept.set(number, numbers);
    if (this.#kept.size > keptPacks) this.#kept.delete(this.#kept.keys().next().value!);
    return numbers;
  }

  #read(number: number): DataView | undefined {
    const row = this.#get.get(number) as { chunks: Uint8Array } | undefined;
    return row && new DataView(row.chunks.buffer, row.chunks.byteOffset, row.chunks.byteLength);
  }
}

export function wrongPlace({ pack, index }: ChunkRef): HelvinoError {
  return new HelvinoError(
    'REPOSITORY_DAMAGED',
    `a file block refers to chunk ${index} of ${packName(pack)} at another place than the pack's directory`,
  );
}

export function foreignKey({ pack, index, keyId }: ChunkRef): HelvinoError {
  return new HelvinoError(
    'REPOSITORY_DAMAGED',
    `chunk ${index} of ${packName(pack)} is sealed under the key ${keyId}, which the manifest does not name`,
  );
}
