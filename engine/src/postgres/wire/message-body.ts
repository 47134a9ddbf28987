/** Reading the fields of a message: https://www.postgresql.org/docs/current/protocol-message-formats.html */
import { HelvinoError } from '../../base/errors.ts';
import type { ServerMessage } from './server-error.ts';

/** All reads throw PROTOCOL beyond the end. Texts and bytes are copies. */
export class MessageBody {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  byte(): number {
    return this.#bytes[this.#take(1)]!;
  }

  int16(): number {
    return this.#bytes.readInt16BE(this.#take(2));
  }

  int32(): number {
    return this.#bytes.readInt32BE(this.#take(4));
  }

  /** Unsigned. */
  int64(): bigint {
    return this.#bytes.readBigUInt64BE(this.#take(8));
  }

  skip(count: number): void {
    this.#take(count);
  }

  bytes(count: number): Buffer {
    const at = this.#take(count);
    return Buffer.from(this.#bytes.subarray(at, at + count));
  }

  /** Up to a zero byte. */
  text(): string {
    const end = this.#bytes.indexOf(0, this.#at);
    if (end < 0) throw truncated();
    const text = this.#bytes.toString('utf8', this.#at, end);
    this.#at = end + 1;
    return text;
  }

  #take(count: number): number {
    const at = this.#at;
    if (count < 0 || at + count > this.#bytes.length) throw truncated();
    this.#at = at + count;
    return at;
  }
}

function truncated(): HelvinoError {
  return new HelvinoError('PROTOCOL', 'the server sent a message that is shorter than its fields');
}

/** ErrorResponse and NoticeResponse. */
export function readServerMessage(bytes: Uint8Array): ServerMessage {
  const body = new MessageBody(bytes);
  const fields = new Map<string, string>();
  for (let type = body.byte(); type !== 0; type = body.byte())
    fields.set(String.fromCharCode(type), body.text());
  return {
    // V is S untranslated
    severity: fields.get('V') ?? fields.get('S') ?? 'ERROR',
    code: fields.get('C') ?? '',
    message: fields.get('M') ?? '',
    detail: fields.get('D'),
    hint: fields.get('H'),
  };
}

/** RowDescription: the names of the columns. */
export function readColumnNames(bytes: Uint8Array): string[] {
  const body = new MessageBody(bytes);
  const names: string[] = [];
  for (let left = body.int16(); left > 0; left--) {
    names.push(body.text());
    body.skip(18);
  }
  return names;
}

/** DataRow: the values, as the server sent them. */
export function readRow(bytes: Uint8Array): (Buffer | null)[] {
  const body = new MessageBody(bytes);
  const values: (Buffer | null)[] = [];
  for (let left = body.int16(); left > 0; left--) {
    const length = body.int32();
    values.push(length === -1 ? null : body.bytes(length));
  }
  return values;
}
