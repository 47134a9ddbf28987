/** Numbers to a block: what is there is never copied when more come. */
const blockLength = 1 << 14;

/**
 * Numbers by their places, 0 where none was set. Four bytes each where all of a block are whole and below 2^32, else eight:
 * there may be a million.
 */
export class NumberList implements Iterable<number> {
  readonly #blocks: (Uint32Array | Float64Array)[] = [];
  #length = 0;

  /** One more than the last place that was set. */
  get length(): number {
    return this.#length;
  }

  at(place: number): number {
    return this.#blocks[Math.floor(place / blockLength)]?.[place % blockLength] ?? 0;
  }

  push(value: number): void {
    this.set(this.#length, value);
  }

  set(place: number, value: number): void {
    const number = Math.floor(place / blockLength);
    while (this.#blocks.length <= number) this.#blocks.push(new Uint32Array(blockLength));
    let block = this.#blocks[number]!;
    if (value >>> 0 !== value && block instanceof Uint32Array) {
      block = Float64Array.from(block);
      this.#blocks[number] = block;
    }
    block[place % blockLength] = value;
    this.#length = Math.max(this.#length, place + 1);
  }

  *[Symbol.iterator](): Generator<number, void, void> {
    for (let place = 0; place < this.#length; place++) yield this.at(place);
  }
}
