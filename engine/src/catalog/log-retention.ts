/** Which stored WAL nothing that is kept needs. Pure. */
import { type PathStep, pathFrom } from './timeline-path.ts';

export interface AgedPiece {
  readonly name: string;
  readonly line: number;
  readonly begin: bigint;
  readonly end: bigint;
  /** By the store's clock. */
  readonly stored: Date;
}

/** A backup from which recovery may start. */
export interface LogStart {
  readonly timeline: number;
  /** Begin of the segment in which the WAL of the backup itself ends. */
  readonly begin: bigint;
  /** Where the WAL of the backup itself ends. */
  readonly end: bigint;
}

/**
 * Pieces to remove, in the order to remove them: so that what is left at any moment has its gap at the old end.
 * A piece goes when it was stored before `before` and no start leads over it. `pathTo` gives the way to a timeline, undefined
 * where its history is not known: then the timeline is left alone.
 */
export function removableLog<T extends AgedPiece>(
  pieces: Iterable<T>,
  options: {
    readonly starts: readonly LogStart[];
    readonly before: Date;
    readonly pathTo: (timeline: number) => readonly PathStep[] | undefined;
  },
): T[] {
  const { starts, before, pathTo } = options;
  if (starts.length === 0) return [];
  const floors = new Map<number, bigint | undefined>();
  const removable: T[] = [];
  for (const piece of pieces) {
    if (!floors.has(piece.line)) floors.set(piece.line, floorOf(piece.line, starts, pathTo));
    const floor = floors.get(piece.line);
    if (piece.stored < before && (floor === undefined || piece.end <= floor)) removable.push(piece);
  }
  return removable.sort((a, b) => a.line - b.line || (a.begin < b.begin ? -1 : a.begin > b.begin ? 1 : 0));
}

/** From where on a timeline is needed; undefined: not at all. */
function floorOf(
  line: number,
  starts: readonly LogStart[],
  pathTo: (timeline: number) => readonly PathStep[] | undefined,
): bigint | undefined {
  const path = pathTo(line);
  if (path === undefined) return 0n;
  let floor: bigint | undefined;
  for (const { timeline, begin, end } of starts) {
    if (pathFrom(path, timeline, end) === undefined) continue;
    const from = timeline === line ? begin : 0n;
    if (floor === undefined || from < floor) floor = from;
  }
  return floor;
}
