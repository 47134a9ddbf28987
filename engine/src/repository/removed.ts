/**
 * What was removed from a store on purpose, by retention or by someone: a copy from another store does not bring it back. Of
 * backups the evidence of their removal says so; of a log, an empty object for how far it was removed:
 *
 *     evidence/removed-wal/<database>/<line>-<position>       8 and 16 hexadecimal digits
 */
import type { StorageDriver } from '../storage/index.ts';
import { removedLogPrefix, removedPrefix } from './layout.ts';
import { putOnce } from './put-once.ts';

export interface Removed {
  readonly backups: ReadonlySet<string>;
  /** Whether a piece of the log, or a note about one, lies where everything was removed. */
  covers(name: string): boolean;
}

export async function removedFrom(driver: StorageDriver, database: string): Promise<Removed> {
  const backups = new Set<string>();
  for await (const { name } of driver.list(`${removedPrefix}${database}/`))
    backups.add(name.slice(name.lastIndexOf('/') + 1));
  const upTo = await readRemovedLog(driver, database);
  return {
    backups,
    covers(name) {
      // Digits of one width: they compare as text.
      const [, line = '', begin = '', end = ''] =
        /\/([0-9A-F]{8})\/([0-9A-F]{16})-([0-9A-F]{16})$/.exec(name) ?? [];
      const removed = upTo.get(line);
      return removed !== undefined && (name.startsWith('log-names/') ? begin < removed : end <= removed);
    },
  };
}

/** To be called before pieces are removed. */
export async function noteRemovedLog(
  driver: StorageDriver,
  database: string,
  pieces: Iterable<{ readonly line: number; readonly end: bigint }>,
): Promise<void> {
  const known = await readRemovedLog(driver, database);
  const ends = new Map<string, string>();
  for (const piece of pieces) {
    const line = hex(piece.line, 8);
    const end = hex(piece.end, 16);
    if (end > (ends.get(line) ?? known.get(line) ?? '')) ends.set(line, end);
  }
  for (const [line, end] of ends)
    await putOnce(driver, `${removedLogPrefix}${database}/${line}-${end}`, [], { passing: true });
}

/** By line: up to where. */
async function readRemovedLog(driver: StorageDriver, database: string): Promise<Map<string, string>> {
  const upTo = new Map<string, string>();
  for await (const { name } of driver.list(`${removedLogPrefix}${database}/`)) {
    const [, line, end] = /\/([0-9A-F]{8})-([0-9A-F]{16})$/.exec(name) ?? [];
    if (line !== undefined && end !== undefined && end > (upTo.get(line) ?? '')) upTo.set(line, end);
  }
  return upTo;
}

function hex(value: bigint | number, digits: number): string {
  return value.toString(16).toUpperCase().padStart(digits, '0');
}
