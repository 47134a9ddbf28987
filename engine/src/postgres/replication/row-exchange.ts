/** The common part of exchanges that return rows. */
import { HelvinoError } from '../../base/errors.ts';
import { readColumnNames, readRow } from '../wire/message-body.ts';
import type { Exchange } from './channel.ts';

export type RawRow = Readonly<Record<string, Buffer | null>>;

const rowDescription = 0x54;
const dataRow = 0x44;
const commandComplete = 0x43;

/** Gathers result sets; refuses copies unless a subclass takes them. */
export class RowExchange implements Exchange {
  /** One list for each RowDescription. */
  readonly sets: RawRow[][] = [];
  #columns: string[] = [];

  message(type: number, body: Uint8Array): void {
    if (type === rowDescription) {
      this.#columns = readColumnNames(body);
      this.sets.push([]);
    } else if (type === dataRow) {
      const values = readRow(body);
      const row = Object.fromEntries(this.#columns.map((name, i) => [name, values[i] ?? null]));
      const set = this.sets.at(-1);
      if (!set) throw unexpected(type);
      set.push(row);
    } else if (type !== commandComplete && !this.other(type)) throw unexpected(type);
  }

  copyStart(_length: number): void {
    throw unexpected(0x64);
  }

  copyData(_bytes: Uint8Array): void {}

  copyEnd(): void {}

  /** A message that is not about rows: true when it was expected. */
  protected other(_type: number): boolean {
    return false;
  }
}

/** A column of a row as text. Throws PROTOCOL when it is missing or null. */
export function column(row: RawRow | undefined, name: string): string {
  const value = row?.[name];
  if (!value) throw new HelvinoError('PROTOCOL', `the server's answer lacks the column ${name}`);
  return value.toString('utf8');
}

export function unexpected(type: number): HelvinoError {
  return new HelvinoError(
    'PROTOCOL',
    `unexpected message of type ${JSON.stringify(String.fromCharCode(type))} from the server`,
  );
}
