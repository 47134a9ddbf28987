/**
 * All pieces of a log, or its whole index, in the order in which the store lists them: by line and begin. Kept as numbers,
 * 20 bytes a piece and 8 a part of the index, since a store may hold a million; a piece is made when it is asked for.
 */
import { NumberList } from '../base/number-list.ts';
import { NumberSet } from '../base/number-set.ts';
import type { StorageDriver } from '../storage/index.ts';
import { type LogNote, logNoteName, logNotes } from './log-notes.ts';
import { isPlace, type LogPiece, listLog, logPieceName } from './log-store.ts';

interface Place {
  readonly line: number;
  readonly begin: bigint;
  readonly end: bigint;
}

/** Places one after the other on one line: each begins less than 4 GiB after the one before it. */
interface Run {
  readonly line: number;
  readonly begin: bigint;
  /** Number of its first place. */
  readonly first: number;
}

/** Ranges of lines, in order; those that `select` has chosen. */
class Places {
  readonly #runs: Run[] = [];
  /** How far after the one before it in its run each begins. */
  readonly #afters = new NumberList();
  readonly #lengths = new NumberList();
  #last: Place = { line: -1, begin: 0n, end: 0n };

  get length(): number {
    return this.#afters.length;
  }

  add(place: Place): void {
    const { line, begin, end } = place;
    const after = begin - this.#last.begin;
    const inRun = line === this.#last.line && after >= 0n && after < 1n << 32n;
    if (!inRun) this.#runs.push({ line, begin, first: this.length });
    this.#afters.push(inRun ? Number(after) : 0);
    this.#lengths.push(Number(end - begin));
    this.#last = place;
  }

  /** In order: of each which place it is. */
  *each(chosen: (number: number) => boolean): Generator<{ number: number; place: Place }, void, void> {
    for (const [i, run] of this.#runs.entries()) {
      const until = this.#runs[i + 1]?.first ?? this.length;
      let after = 0;
      for (let number = run.first; number < until; number++) {
        after += this.#afters.at(number);
        if (chosen(number)) yield { number, place: this.#place(number, run, after) };
      }
    }
  }

  *reversed(chosen: (number: number) => boolean): Generator<{ number: number; place: Place }, void, void> {
    for (let i = this.#runs.length - 1; i >= 0; i--) {
      const run = this.#runs[i]!;
      const until = this.#runs[i + 1]?.first ?? this.length;
      let after = 0;
      for (let number = run.first; number < until; number++) after += this.#afters.at(number);
      for (let number = until - 1; number >= run.first; number--) {
        if (chosen(number)) yield { number, place: this.#place(number, run, after) };
        after -= this.#afters.at(number);
      }
    }
  }

  get lines(): number[] {
    return [...new Set(this.#runs.map(({ line }) => line))].sort((a, b) => a - b);
  }

  #place(number: number, { line, begin }: Run, after: number): Place {
    const at = begin + BigInt(after);
    return { line, begin: at, end: at + BigInt(this.#lengths.at(number)) };
  }
}

abstract class Listed<Item extends Place> implements Iterable<Item> {
  protected readonly places: Places;
  readonly #chosen: NumberSet | undefined;

  protected constructor(places: Places, chosen?: NumberSet) {
    this.places = places;
    this.#chosen = chosen;
  }

  protected abstract item(place: Place, number: number): Item;

  get length(): number {
    return this.#chosen?.size ?? this.places.length;
  }

  /** Of all, in order. */
  get lines(): number[] {
    return this.places.lines;
  }

  /** In order. */
  *[Symbol.iterator](): Generator<Item, void, void> {
    for (const { place, number } of this.places.each(this.#has)) yield this.item(place, number);
  }

  /** The last first. */
  *reversed(): Generator<Item, void, void> {
    for (const { place, number } of this.places.reversed(this.#has)) yield this.item(place, number);
  }

  protected choose(wanted: (item: Item) => boolean): NumberSet {
    const chosen = new NumberSet();
    for (const { place, number } of this.places.each(this.#has))
      if (wanted(this.item(place, number))) chosen.add(number);
    return chosen;
  }

  readonly #has = (number: number) => this.#chosen?.has(number) ?? true;
}

export class LogPieces extends Listed<LogPiece> {
  readonly #database: string;
  /** Bytes of each. */
  readonly #sizes: NumberList;
  /** When each was stored, in milliseconds. */
  readonly #stored: NumberList;

  private constructor(database: string, of?: LogPieces, chosen?: NumberSet) {
    super(of?.places ?? new Places(), chosen);
    this.#database = database;
    this.#sizes = of === undefined ? new NumberList() : of.#sizes;
    this.#stored = of === undefined ? new NumberList() : of.#stored;
  }

  static async read(driver: StorageDriver, database: string): Promise<LogPieces> {
    const pieces = new LogPieces(database);
    for await (const piece of listLog(driver, database)) pieces.#add(piece);
    return pieces;
  }

  /** Those of these that are wanted; a bit for each more. */
  select(wanted: (piece: LogPiece) => boolean): LogPieces {
    return new LogPieces(this.#database, this, this.choose(wanted));
  }

  protected item(place: Place, number: number): LogPiece {
    const stored = new Date(this.#stored.at(number));
    return { ...place, name: logPieceName(this.#database, place), size: this.#sizes.at(number), stored };
  }

  #add(piece: LogPiece): void {
    this.places.add(piece);
    this.#sizes.push(piece.size);
    this.#stored.push(piece.stored.getTime());
  }
}

/** The index of a log: one note for each range. */
export class LogIndex extends Listed<LogNote> {
  readonly #database: string;

  private constructor(database: string, places: Places, chosen?: NumberSet) {
    super(places, chosen);
    this.#database = database;
  }

  static async read(driver: StorageDriver, database: string): Promise<LogIndex> {
    const places = new Places();
    for await (const note of logNotes(driver, database, 'index'))
      if (isPlace(note) || note.begin === note.end) places.add(note);
    return new LogIndex(database, places);
  }

  /** Those of these that are wanted; a bit for each more. */
  select(wanted: (note: LogNote) => boolean): LogIndex {
    return new LogIndex(this.#database, this.places, this.choose(wanted));
  }

  protected item(place: Place): LogNote {
    return { ...place, name: logNoteName(this.#database, 'index', place) };
  }
}
