/**
 * All pieces of a log, in the order in which the store lists them: by line and begin. Kept as numbers, 36 bytes each, since a
 * store may hold a million; a piece is made when it is asked for.
 */
import type { StorageDriver } from '../storage/index.ts';
import { type LogPiece, listLog, logPieceName } from './log-store.ts';

const firstRoom = 1024;

export class LogPieces implements Iterable<LogPiece> {
  #length = 0;
  readonly #database: string;
  #lines = new Uint32Array(firstRoom);
  /** Begin and end of each. */
  #positions = new BigUint64Array(2 * firstRoom);
  /** Size, and when it was stored in milliseconds, of each. */
  #facts = new Float64Array(2 * firstRoom);

  private constructor(database: string) {
    this.#database = database;
  }

  static async read(driver: StorageDriver, database: string): Promise<LogPieces> {
    const pieces = new LogPieces(database);
    for await (const piece of listLog(driver, database)) pieces.#add(piece);
    return pieces;
  }

  get length(): number {
    return this.#length;
  }

  /** In order. */
  get lines(): number[] {
    return [...new Set(this.#lines.subarray(0, this.#length))].sort((a, b) => a - b);
  }

  *[Symbol.iterator](): Generator<LogPiece, void, void> {
    for (let i = 0; i < this.#length; i++) {
      const place = {
        line: this.#lines[i]!,
        begin: this.#positions[2 * i]!,
        end: this.#positions[2 * i + 1]!,
      };
      const stored = new Date(this.#facts[2 * i + 1]!);
      yield { ...place, name: logPieceName(this.#database, place), size: this.#facts[2 * i]!, stored };
    }
  }

  #add({ line, begin, end, size, stored }: LogPiece): void {
    const i = this.#length++;
    if (i === this.#lines.length) this.#grow();
    this.#lines[i] = line;
    this.#positions[2 * i] = begin;
    this.#positions[2 * i + 1] = end;
    this.#facts[2 * i] = size;
    this.#facts[2 * i + 1] = stored.getTime();
  }

  #grow(): void {
    const room = 2 * this.#lines.length;
    const [lines, positions, facts] = [this.#lines, this.#positions, this.#facts];
    this.#lines = new Uint32Array(room);
    this.#lines.set(lines);
    this.#positions = new BigUint64Array(2 * room);
    this.#positions.set(positions);
    this.#facts = new Float64Array(2 * room);
    this.#facts.set(facts);
  }
}
