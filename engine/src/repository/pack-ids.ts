/**
 * A set of pack ids that numbers them. Kept as numbers: 16 bytes an id and a table of places, where a set of texts would take
 * more than a hundred. Ids are random, so that their first bits spread them over the table.
 */
export class PackIds {
  #length = 0;
  /** Four words an id. */
  #words = new Uint32Array(4 * 1024);
  /** Number of an id plus one, by its first word; 0: free. A power of two, at most half full. */
  #table = new Uint32Array(2048);

  has(id: string): boolean {
    return this.#table[this.#find(wordsOf(id))] !== 0;
  }

  /** From 0 on, in the order in which they came. */
  numberOf(id: string): number {
    const words = wordsOf(id);
    const place = this.#find(words);
    const known = this.#table[place]!;
    if (known !== 0) return known - 1;
    const number = this.#length++;
    if (4 * this.#length > this.#words.length) {
      const old = this.#words;
      this.#words = new Uint32Array(2 * old.length);
      this.#words.set(old);
    }
    this.#words.set(words, 4 * number);
    this.#table[place] = this.#length;
    if (2 * this.#length > this.#table.length) this.#widen();
    return number;
  }

  idOf(number: number): string {
    const words = [...this.#words.subarray(4 * number, 4 * number + 4)];
    return words.map((word) => word.toString(16).padStart(8, '0')).join('');
  }

  #find(words: readonly number[]): number {
    const mask = this.#table.length - 1;
    for (let place = words[0]! & mask; ; place = (place + 1) & mask) {
      const at = this.#table[place]!;
      if (at === 0 || words.every((word, i) => this.#words[4 * (at - 1) + i] === word)) return place;
    }
  }

  #widen(): void {
    this.#table = new Uint32Array(2 * this.#table.length);
    for (let number = 0; number < this.#length; number++) {
      const words = this.#words.subarray(4 * number, 4 * number + 4);
      this.#table[this.#find([...words])] = number + 1;
    }
  }
}

/** Names that are no ids, which others may have put there, are told apart by what is hexadecimal of them. */
function wordsOf(id: string): number[] {
  return [0, 8, 16, 24].map((at) => Number.parseInt(id.slice(at, at + 8), 16) >>> 0);
}
