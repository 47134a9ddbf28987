/**
 * Parts of a log that a longer piece holds as well. Streams remove them when the longer piece is stored; one whose
 * credential may not delete leaves them to the collection.
 */
import { HelvinoError } from '../base/errors.ts';
import type { StorageDriver } from '../storage/index.ts';
import { checkLogPiece, logPrefix } from './log-store.ts';
import type { Repository } from './repository.ts';

export interface SupersededPart {
  readonly name: string;
  readonly size: number;
  /** The object that holds its bytes, too. */
  readonly by: string;
}

const piecePattern = /^(.*\/[0-9A-F]{8})\/([0-9A-F]{16})-([0-9A-F]{16})$/;

/** Parts that have been superfluous for the grace time, by the store's clock. */
export async function planSuperseded(
  driver: StorageDriver,
  { now, graceMs }: { now: number; graceMs: number },
): Promise<SupersededPart[]> {
  const found: SupersededPart[] = [];
  for (const prefix of [logPrefix, 'log-index/']) {
    let line = '';
    /** The one that reaches furthest of those before, and of those that begin with it so far. */
    let longest: Piece | undefined;
    // By name: line for line, by begin, and of one begin the longest last.
    for await (const { name, size, modified } of driver.list(prefix)) {
      const [, ofLine = '', begin = '', end = ''] = piecePattern.exec(name) ?? [];
      if (ofLine === '' || now - modified.getTime() < graceMs) continue;
      if (ofLine !== line) longest = undefined;
      line = ofLine;
      const piece = { name, size, begin, end };
      if (longest !== undefined && end <= longest.end) found.push({ name, size, by: longest.name });
      else {
        if (longest?.begin === begin) takeOver(found, longest, piece);
        longest = piece;
      }
    }
  }
  return found;
}

/** Positions are compared as text: they have the same width. */
interface Piece {
  readonly name: string;
  readonly size: number;
  readonly begin: string;
  readonly end: string;
}

/** A longer one of the same begin: what the other held, and the other itself, lies inside it. */
function takeOver(found: SupersededPart[], other: Piece, longer: Piece): void {
  for (let i = found.length - 1; i >= 0 && found[i]!.by === other.name; i--)
    found[i] = { ...found[i]!, by: longer.name };
  found.push({ name: other.name, size: other.size, by: longer.name });
}

/** Removes them once what holds their bytes was read and found good. Gives those that went. */
export async function removeSuperseded(
  { driver, ring }: Repository,
  parts: readonly SupersededPart[],
): Promise<SupersededPart[]> {
  const removed: SupersededPart[] = [];
  const good = new Map<string, boolean>();
  for (const part of parts) {
    if (part.name.startsWith(logPrefix) && !good.has(part.by))
      good.set(
        part.by,
        await isGood(() => driver.get(part.by).then((bytes) => checkLogPiece(bytes, part.by, ring))),
      );
    if (good.get(part.by) === false) continue;
    // Locked by the store: it is left for the next time.
    if (await isGood(() => driver.remove(part.name))) removed.push(part);
  }
  return removed;
}

async function isGood(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (thrown) {
    const codes = [
      'REPOSITORY_DAMAGED',
      'STORAGE_NOT_FOUND',
      'STORAGE_SHORT_READ',
      'STORAGE_DENIED',
      'KEY_WRONG',
    ];
    if (thrown instanceof HelvinoError && codes.includes(thrown.code)) return false;
    throw thrown;
  }
}
