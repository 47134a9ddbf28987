/** Packs and their sizes, each once, in the order in which they came: some thirty bytes a pack, since there may be a million. */
import { NumberList } from '../base/number-list.ts';
import { NumberSet } from '../base/number-set.ts';
import { PackIds } from './pack-ids.ts';

export interface SizedPack {
  readonly id: string;
  readonly size: number;
}

export class PackList implements Iterable<SizedPack> {
  readonly #ids: PackIds;
  readonly #sizes: NumberList;
  /** Undefined: all. */
  readonly #chosen: NumberSet | undefined;

  constructor(of?: { ids: PackIds; sizes: NumberList; chosen: NumberSet }) {
    this.#ids = of?.ids ?? new PackIds();
    this.#sizes = of?.sizes ?? new NumberList();
    this.#chosen = of?.chosen;
  }

  get length(): number {
    return this.#chosen?.size ?? this.#ids.length;
  }

  /** Of all. */
  get bytes(): number {
    let sum = 0;
    for (const number of this.#numbers()) sum += this.sizeOf(number);
    return sum;
  }

  /** Its number. Of one that is there the size becomes this. */
  add({ id, size }: SizedPack): number {
    const number = this.#ids.numberOf(id);
    this.#sizes.set(number, size);
    return number;
  }

  /** Undefined when it is not there. */
  numberOf(id: string): number | undefined {
    return this.#ids.find(id);
  }

  at(number: number): SizedPack {
    return { id: this.#ids.idOf(number), size: this.sizeOf(number) };
  }

  sizeOf(number: number): number {
    return this.#sizes.at(number);
  }

  *[Symbol.iterator](): Generator<SizedPack, void, void> {
    for (const number of this.#numbers()) yield this.at(number);
  }

  toJSON(): SizedPack[] {
    return [...this];
  }

  /** Those of all whose number is wanted; a bit for each more. Nothing may be added then. */
  select(wanted: (number: number) => boolean): PackList {
    const chosen = new NumberSet();
    for (let number = 0; number < this.#ids.length; number++) if (wanted(number)) chosen.add(number);
    return new PackList({ ids: this.#ids, sizes: this.#sizes, chosen });
  }

  /** Nobody may use it any more: see PackIds. */
  free(): void {
    this.#ids.free();
  }

  *#numbers(): Generator<number, void, void> {
    if (this.#chosen) yield* this.#chosen;
    else for (let number = 0; number < this.#ids.length; number++) yield number;
  }
}
