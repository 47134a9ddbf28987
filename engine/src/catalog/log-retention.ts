/** Which stored WAL nothing that is kept needs. Pure. */
import { type PathStep, pathFrom } from './timeline-path.ts';

export interface AgedPiece {
  readonly line: number;
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
 * Whether a piece goes: it was stored before `before` and no start leads over it. In order of line and begin, they leave at any
 * moment what has its gap at the old end. `pathTo` gives the way to a timeline, undefined where its history is not known:
 * then the timeline is left alone.
 */
export function removableLog(options: {
  readonly starts: readonly LogStart[];
  readonly before: Date;
  readonly pathTo: (timeline: number) => readonly PathStep[] | undefined;
}): (piece: AgedPiece) => boolean {
  const { starts, before, pathTo } = options;
  const floors = new Map<number, bigint | undefined>();
  return (piece) => {
    if (starts.length === 0) return false;
    if (!floors.has(piece.line)) floors.set(piece.line, floorOf(piece.line, starts, pathTo));
    const floor = floors.get(piece.line);
    return piece.stored < before && (floor === undefined || piece.end <= floor);
  };
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
