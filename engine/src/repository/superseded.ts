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
    let pieces: { name: string; size: number; begin: string; end: string }[] = [];
    const flush = () => {
      found.push(...insideOthers(pieces));
      pieces = [];
    };
    // By name: line for line.
    for await (const { name, size, modified } of driver.list(prefix)) {
      const [, ofLine = '', begin = '', end = ''] = piecePattern.exec(name) ?? [];
      if (ofLine === '' || now - modified.getTime() < graceMs) continue;
      if (ofLine !== line) flush();
      line = ofLine;
      pieces.push({ name, size, begin, end });
    }
    flush();
  }
  return found;
}

/** Positions are compared as text: they have the same width. */
function insideOthers(
  pieces: readonly { name: string; size: number; begin: string; end: string }[],
): SupersededPart[] {
  const sorted = [...pieces].sort((a, b) => {
    if (a.begin !== b.begin) return a.begin < b.begin ? -1 : 1;
    return a.end > b.end ? -1 : 1;
  });
  const inside: SupersededPart[] = [];
  let longest: (typeof sorted)[number] | undefined;
  for (const piece of sorted) {
    if (longest && piece.end <= longest.end)
      inside.push({ name: piece.name, size: piece.size, by: longest.name });
    else longest = piece;
  }
  return inside;
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
