/**
 * Notes beside a log: what was found while it was stored, so that it need not be read again. Structure, sealed with the
 * catalog key; all of it can be had again from the log itself.
 *
 *     log-index/<database>/<line>/<begin>-<end>       about the range [begin, end) of a line; empty: about what goes on there
 *     log-names/<database>/<line>/<begin>-<end>       about the state at `begin`; `end` tells apart what is of one position
 *
 * Line: 8, positions: 16 hexadecimal digits.
 */
import { HelvinoError } from '../base/errors.ts';
import type { StorageDriver } from '../storage/index.ts';
import { openEnvelope, sealEnvelope } from './envelope.ts';
import { readBack } from './read-back.ts';
import type { Repository } from './repository.ts';

export type LogNoteKind = 'index' | 'names';

export interface LogNote {
  readonly name: string;
  readonly line: number;
  readonly begin: bigint;
  readonly end: bigint;
}

/** Durable and read back when it resolves; true also when there is one of that name already. Gives the object's name. */
export async function putLogNote(
  repository: Repository,
  note: { database: string; kind: LogNoteKind; line: number; begin: bigint; end: bigint; bytes: Uint8Array },
): Promise<string> {
  const name = logNoteName(note.database, note.kind, note);
  // Made for every segment beside a busy server: half the time of level 3, and for such rows no larger.
  const body = sealEnvelope(note.bytes, { ring: repository.ring, name, magic: 'HVNOTE1\n', level: 1 });
  try {
    await repository.driver.put(name, [body], { ifAbsent: true });
  } catch (thrown) {
    if (thrown instanceof HelvinoError && thrown.code === 'STORAGE_EXISTS') return name;
    throw thrown;
  }
  await readBack(repository.driver, name, [body]);
  return name;
}

export function logNoteName(
  database: string,
  kind: LogNoteKind,
  { line, begin, end }: { line: number; begin: bigint; end: bigint },
): string {
  return `log-${kind}/${database}/${hex(line, 8)}/${hex(begin, 16)}-${hex(end, 16)}`;
}

/** In order of line and begin. There may be as many as pieces of the log. */
export async function* logNotes(
  driver: StorageDriver,
  database: string,
  kind: LogNoteKind,
): AsyncGenerator<LogNote> {
  for await (const { name } of driver.list(`log-${kind}/${database}/`)) {
    const match = /\/([0-9A-F]{8})\/([0-9A-F]{16})-([0-9A-F]{16})$/.exec(name);
    if (!match) continue;
    const [, line, begin, end] = match;
    yield {
      name,
      line: Number.parseInt(line!, 16),
      begin: BigInt(`0x${begin}`),
      end: BigInt(`0x${end}`),
    };
  }
}

export async function listLogNotes(
  { driver }: Repository,
  database: string,
  kind: LogNoteKind,
): Promise<LogNote[]> {
  const notes: LogNote[] = [];
  for await (const note of logNotes(driver, database, kind)) notes.push(note);
  return notes;
}

/** Throws REPOSITORY_DAMAGED, KEY_WRONG. */
export async function openLogNote(repository: Repository, name: string): Promise<Uint8Array> {
  return openEnvelope(await repository.driver.get(name), { ring: repository.ring, name, magic: 'HVNOTE1\n' });
}

function hex(value: bigint | number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, '0');
}
