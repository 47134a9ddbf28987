/** A set of numbers from 0 on, a bit for each up to the largest. */
export class NumberSet {
  #bits = new Uint8Array(64);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  has(number: number): boolean {
    return ((this.#bits[number >>> 3] ?? 0) & (1 << (number & 7))) !== 0;
  }

  /** True when it was not in it. */
  add(number: number): boolean {
    if (this.has(number)) return false;
    const place = number >>> 3;
    if (place >= this.#bits.length) {
      const old = this.#bits;
      this.#bits = new Uint8Array(Math.max(place + 1, 2 * old.length));
      this.#bits.set(old);
    }
    this.#bits[place]! |= 1 << (number & 7);
    this.#size++;
    return true;
  }

  /** In order. */
  *[Symbol.iterator](): Generator<number, void, void> {
    for (let place = 0; place < this.#bits.length; place++) {
      const bits = this.#bits[place]!;
      for (let bit = 0; bits >>> bit !== 0; bit++) if (bits & (1 << bit)) yield 8 * place + bit;
    }
  }
}
