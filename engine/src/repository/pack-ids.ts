import { freeBytes } from './free-bytes.ts';

const blockLength = 1 << 14;
const idBytes = Buffer.alloc(16);
const wordsOfId = new Uint32Array(4);

/**
 * A set of pack ids that numbers them. Kept as numbers: 16 bytes an id and a table of places, where a set of texts would take
 * more than a hundred. Ids are random, so that their first bits spread them over the table.
 */
export class PackIds {
  #length = 0;
  /** Four words an id, in blocks: what is there is never copied when more come. */
  readonly #blocks: Uint32Array[] = [];
  /** Number of an id plus one, by its first word; 0: free. A power of two, at most half full. */
  #table = new Uint32Array(2048);

  get length(): number {
    return this.#length;
  }

  has(id: string): boolean {
    return this.find(id) !== undefined;
  }

  /** The number of an id that is in it. */
  find(id: string): number | undefined {
    const known = this.#table[this.#find(wordsOf(id))]!;
    return known === 0 ? undefined : known - 1;
  }

  /** From 0 on, in the order in which they came. */
  numberOf(id: string): number {
    const words = wordsOf(id);
    const place = this.#find(words);
    const known = this.#table[place]!;
    if (known !== 0) return known - 1;
    const number = this.#length++;
    if (number % blockLength === 0) this.#blocks.push(new Uint32Array(4 * blockLength));
    this.#wordsAt(number).set(words);
    this.#table[place] = this.#length;
    if (2 * this.#length > this.#table.length) this.#widen();
    return number;
  }

  idOf(number: number): string {
    const words = this.#wordsAt(number);
    for (let i = 0; i < 4; i++) idBytes.writeUInt32BE(words[i]!, 4 * i);
    return idBytes.toString('hex');
  }

  /** Nobody may use it any more: its memory is given back now, not when it is seen to be garbage. */
  free(): void {
    for (const words of [...this.#blocks, this.#table]) freeBytes(words);
  }

  #wordsAt(number: number): Uint32Array {
    const at = 4 * (number % blockLength);
    return this.#blocks[Math.floor(number / blockLength)]!.subarray(at, at + 4);
  }

  #find(words: ArrayLike<number>): number {
    const mask = this.#table.length - 1;
    for (let place = words[0]! & mask; ; place = (place + 1) & mask) {
      const at = this.#table[place]!;
      if (at === 0 || this.#isAt(at - 1, words)) return place;
    }
  }

  #isAt(number: number, words: ArrayLike<number>): boolean {
    const block = this.#blocks[Math.floor(number / blockLength)]!;
    const at = 4 * (number % blockLength);
    return (
      block[at] === words[0] &&
      block[at + 1] === words[1] &&
      block[at + 2] === words[2] &&
      block[at + 3] === words[3]
    );
  }

  #widen(): void {
    const old = this.#table;
    this.#table = new Uint32Array(2 * old.length);
    freeBytes(old);
    for (let number = 0; number < this.#length; number++)
      this.#table[this.#find(this.#wordsAt(number))] = number + 1;
  }
}

/**
 * The same array each time: a million look-ups leave nothing behind. Names that are no ids, which others may have put there,
 * are told apart by what is hexadecimal of them.
 */
function wordsOf(id: string): Uint32Array {
  for (let i = 0; i < 4; i++) {
    let word = 0;
    for (let at = 8 * i; at < 8 * i + 8; at++) {
      const digit = digitOf(id.charCodeAt(at));
      if (digit < 0) break;
      word = word * 16 + digit;
    }
    wordsOfId[i] = word;
  }
  return wordsOfId;
}

/** Below 0 for what is no hexadecimal digit. */
function digitOf(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const small = code | 0x20;
  return small >= 0x61 && small <= 0x66 ? small - 0x57 : -1;
}
