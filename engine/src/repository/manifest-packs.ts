/** The packs that a manifest names, each once: some forty bytes a pack, since there may be hundreds of thousands. */
import { NumberList } from '../base/number-list.ts';
import { NumberSet } from '../base/number-set.ts';
import { PackList } from './pack-list.ts';

export interface PackFacts {
  readonly id: string;
  readonly keyId: string;
  readonly size: number;
  readonly structure?: boolean | undefined;
}

export class ManifestPacks implements Iterable<PackFacts> {
  readonly #list = new PackList();
  /** Of few keys. */
  readonly #keyIds: string[] = [];
  /** Of each pack which of the keys. */
  readonly #keys = new NumberList();
  readonly #structure = new NumberSet();

  get length(): number {
    return this.#list.length;
  }

  add(pack: PackFacts): void {
    const number = this.#list.add(pack);
    if (!this.#keyIds.includes(pack.keyId)) this.#keyIds.push(pack.keyId);
    this.#keys.set(number, this.#keyIds.indexOf(pack.keyId));
    if (pack.structure) this.#structure.add(number);
  }

  withId(id: string): PackFacts | undefined {
    const number = this.#list.numberOf(id);
    return number === undefined ? undefined : this.#at(number);
  }

  /** In the order of the manifest. */
  *[Symbol.iterator](): Generator<PackFacts, void, void> {
    for (let number = 0; number < this.length; number++) yield this.#at(number);
  }

  toJSON(): PackFacts[] {
    return [...this];
  }

  #at(number: number): PackFacts {
    const pack = { ...this.#list.at(number), keyId: this.#keyIds[this.#keys.at(number)]! };
    return this.#structure.has(number) ? { ...pack, structure: true } : pack;
  }
}
