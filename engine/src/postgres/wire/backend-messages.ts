/**
 * Splits what a server sends into messages: https://www.postgresql.org/docs/current/protocol-message-formats.html.
 * Made for bulk: the payload of CopyData is handed on as it lies in the read buffer, never copied or put together.
 */
import { HelvinoError } from '../../base/errors.ts';

export interface BackendHandler {
  /** A whole message other than CopyData. `body` is a view that is valid during the call only. */
  message(type: number, body: Uint8Array): void;
  /** A CopyData message of `length` bytes begins. */
  copyStart(length: number): void;
  /** The next bytes of it, never empty. A view that is valid during the call only. */
  copyData(bytes: Uint8Array): void;
  copyEnd(): void;
}

const copyData = 0x64;
const headerSize = 5;
/** Other messages are rows of a few columns, errors and the like. */
const longestMessage = 64 << 20;

/** Throws HelvinoError PROTOCOL; after that, and after an exception of the handler, it must not be used again. */
export class BackendReader {
  readonly #handler: BackendHandler;
  /** A header, or a message other than CopyData, that did not come whole. */
  #partial = new Uint8Array(headerSize);
  #filled = 0;
  /** Of `#partial`: how much it must hold. */
  #wanted = headerSize;
  /** Bytes of the open CopyData message still to come; -1: none is open. */
  #left = -1;

  constructor(handler: BackendHandler) {
    this.#handler = handler;
  }

  push(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#left > 0) at = this.#payload(bytes, at);
      else if (this.#filled > 0) at = this.#complete(bytes, at);
      else at = this.#begin(bytes, at);
    }
  }

  #payload(bytes: Uint8Array, at: number): number {
    const end = Math.min(bytes.length, at + this.#left);
    this.#left -= end - at;
    this.#handler.copyData(bytes.subarray(at, end));
    if (this.#left === 0) this.#endCopy();
    return end;
  }

  #endCopy(): void {
    this.#left = -1;
    this.#handler.copyEnd();
  }

  /** At the start of a message. */
  #begin(bytes: Uint8Array, at: number): number {
    const have = bytes.length - at;
    if (have < headerSize) return this.#keep(bytes, at, headerSize);
    const type = bytes[at]!;
    const length = bodyLength(bytes, at);
    if (type === copyData) {
      this.#startCopy(length);
      return at + headerSize;
    }
    if (have < headerSize + length) return this.#keep(bytes, at, headerSize + length);
    const body = at + headerSize;
    this.#handler.message(type, bytes.subarray(body, body + length));
    return body + length;
  }

  #startCopy(length: number): void {
    this.#handler.copyStart(length);
    this.#left = length;
    if (length === 0) this.#endCopy();
  }

  #keep(bytes: Uint8Array, at: number, wanted: number): number {
    this.#wanted = wanted;
    if (this.#partial.length < wanted) this.#partial = new Uint8Array(wanted);
    this.#partial.set(bytes.subarray(at));
    this.#filled = bytes.length - at;
    return bytes.length;
  }

  /** Adds to what was kept. */
  #complete(bytes: Uint8Array, at: number): number {
    const count = Math.min(bytes.length - at, this.#wanted - this.#filled);
    this.#partial.set(bytes.subarray(at, at + count), this.#filled);
    this.#filled += count;
    if (this.#filled === this.#wanted) this.#completed();
    return at + count;
  }

  #completed(): void {
    const partial = this.#partial;
    const type = partial[0]!;
    const length = bodyLength(partial, 0);
    if (this.#wanted === headerSize && (type === copyData || length > 0)) {
      if (type === copyData) {
        this.#filled = 0;
        this.#startCopy(length);
        return;
      }
      this.#wanted = headerSize + length;
      if (partial.length < this.#wanted) {
        this.#partial = new Uint8Array(this.#wanted);
        this.#partial.set(partial.subarray(0, headerSize));
      }
      return;
    }
    this.#filled = 0;
    const whole = this.#wanted;
    this.#wanted = headerSize;
    if (partial.length > 1 << 16) this.#partial = new Uint8Array(headerSize);
    this.#handler.message(type, partial.subarray(headerSize, whole));
  }
}

function bodyLength(bytes: Uint8Array, at: number): number {
  const length =
    ((bytes[at + 1]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!) - 4;
  if (length < 0 || (bytes[at] !== copyData && length > longestMessage)) {
    throw new HelvinoError(
      'PROTOCOL',
      `the server sent a message of type ${bytes[at]} and impossible length ${length + 4}`,
    );
  }
  return length;
}
