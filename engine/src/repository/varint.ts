/**
 * The binary notation of structure objects: unsigned LEB128 integers up to 2^53-1, byte strings with a length before
 * them, and fixed byte runs. The reader checks every bound and throws REPOSITORY_DAMAGED, never anything else.
 */
import { HelvinoError } from '../base/errors.ts';

export class BinaryWriter {
  #buffer = Buffer.allocUnsafe(4096);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  uint(value: number): this {
    this.#reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      this.#buffer[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#buffer[this.#length++] = rest;
    return this;
  }

  raw(bytes: Uint8Array): this {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
    return this;
  }

  text(value: string): this {
    const bytes = Buffer.from(value, 'utf8');
    return this.uint(bytes.length).raw(bytes);
  }

  /** A copy of what was written. */
  take(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.#length));
  }

  #reserve(extra: number): void {
    if (this.#length + extra <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + extra));
    grown.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = grown;
  }
}

export class BinaryReader {
  readonly #bytes: Buffer;
  readonly #what: string;
  #at = 0;

  /** `what` names the object in errors. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  uint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 8; i++) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw this.damaged('ends inside a number');
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) throw this.damaged('holds a number that is too large');
        return value;
      }
      scale *= 0x80;
    }
    throw this.damaged('holds a number that is too long');
  }

  /** A number of things that each take at least `least` bytes: bounded by what is left, so that memory is bounded too. */
  count(least: number): number {
    const value = this.uint();
    if (value * least > this.remaining)
      throw this.damaged(`claims ${value} entries in ${this.remaining} bytes`);
    return value;
  }

  raw(length: number): Buffer {
    if (length > this.remaining) throw this.damaged(`ends inside a field of ${length} bytes`);
    const view = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return view;
  }

  text(): string {
    return this.raw(this.uint()).toString('utf8');
  }

  end(): void {
    if (this.remaining !== 0) throw this.damaged(`has ${this.remaining} bytes too many`);
  }

  damaged(why: string): HelvinoError {
    return new HelvinoError(
      'REPOSITORY_DAMAGED',
      `${this.#what} ${why} (at byte ${this.#at} of ${this.#bytes.length})`,
      {
        hint: 'run `helvino verify` to see which backups are touched; restore from another backup or copy',
        context: { object: this.#what },
      },
    );
  }
}
