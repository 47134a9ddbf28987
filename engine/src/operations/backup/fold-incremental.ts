/**
 * Folds what a PostgreSQL 17+ server sends of a changed file into a full view: the blocks that it lists are new; blocks
 * below the truncation point that it does not list are as in the parent; all else is zero. This is what
 * `pg_combinebackup` does when it reconstructs a file, done on references instead of bytes.
 * https://www.postgresql.org/docs/current/app-pgcombinebackup.html
 */
import { type Extent, overlayExtents } from '../../repository/index.ts';

export const blockSize = 8192;

/** Blocks `blocks[from..from+count)` of the incremental file, in one encoded segment. */
export interface BlockRun {
  readonly from: number;
  readonly count: number;
  readonly extent: Extent;
}

export interface IncrementalView {
  /** The parent's extents of the file. */
  readonly old: readonly Extent[];
  readonly truncationBlocks: number;
  /** Ascending block numbers. */
  readonly blocks: Uint32Array;
  /** In order, together covering all of `blocks`. */
  readonly runs: readonly BlockRun[];
}

export function foldedBlocks(view: { truncationBlocks: number; blocks: Uint32Array }): number {
  const last = view.blocks.at(-1);
  return Math.max(view.truncationBlocks, last === undefined ? 0 : last + 1);
}

export function foldIncremental(view: IncrementalView): Extent[] {
  const size = foldedBlocks(view) * blockSize;
  return overlayExtents(view.old, patches(view), { size, keepBelow: view.truncationBlocks * blockSize });
}

function* patches({ blocks, runs }: IncrementalView): Generator<{ at: number; extent: Extent }> {
  for (const run of runs) {
    let i = run.from;
    const end = run.from + run.count;
    while (i < end) {
      let j = i + 1;
      while (j < end && blocks[j] === blocks[j - 1]! + 1) j++;
      yield { at: blocks[i]! * blockSize, extent: part(run, i, j) };
      i = j;
    }
  }
}

function part(run: BlockRun, i: number, j: number): Extent {
  if (i === run.from && j === run.from + run.count) return run.extent;
  const length = (j - i) * blockSize;
  const { chunk, start } = run.extent;
  return chunk ? { length, chunk, start: start + (i - run.from) * blockSize } : { length, start: 0 };
}
