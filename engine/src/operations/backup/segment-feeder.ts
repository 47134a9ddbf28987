/**
 * Cuts files into segments, lays segments into slots of the encoder pool, and gathers the extents that come back. A slot
 * becomes one chunk: large files fill several, small files share one.
 */
import { copyBytes } from '../../base/aligned-memory.ts';
import type { EncodedSegment, EncoderPool, Extent, FileEntry, Slot } from '../../repository/index.ts';

/** What one file needs until all its segments have come back. */
export interface FileSink {
  /** Segment number `ordinal`, as it was encoded; called once for each. */
  segment(ordinal: number, extent: Extent): void;
}

export interface Piece {
  readonly length: number;
  readonly sink: FileSink;
  readonly ordinal: number;
  /** The extent of the parent, to be used if the content is the same. */
  readonly same?: Extent;
  /** See `lay`. */
  readonly fetch?: unknown;
}

export class SegmentFeeder {
  fresh = 0;
  readonly #pool: EncoderPool;
  #slot: Slot | undefined;
  #used = 0;
  #pieces: Piece[] = [];
  #open: { length: number; filled: number } | undefined;

  constructor(pool: EncoderPool) {
    this.#pool = pool;
  }

  /** How many bytes the next segment may have so that it still goes into the slot at hand; 0 when there is none. */
  get room(): number {
    return this.#slot ? this.#slot.bytes.length - this.#used : 0;
  }

  /** Begins a segment of exactly `length` bytes; `write` must then be called until it is full. */
  begin(piece: Piece): void {
    if (this.#slot && this.room < piece.length) this.flush();
    this.#slot ??= this.#pool.take();
    this.#pieces.push(piece);
    this.#open = { length: piece.length, filled: 0 };
  }

  /**
   * Begins a segment that an encoder fetches, or checks, by what `piece.fetch` says; `fill` may put bytes there at once. Is
   * full with it.
   */
  lay(piece: Piece, fill?: (into: Uint8Array) => void): void {
    this.begin(piece);
    fill?.(this.#slot!.bytes.subarray(this.#used, this.#used + piece.length));
    this.#advance(this.#open!, piece.length);
  }

  /** Copies as much as the open segment takes; returns how much that was. */
  write(bytes: Uint8Array): number {
    const open = this.#open!;
    const count = Math.min(bytes.length, open.length - open.filled);
    copyBytes(count === bytes.length ? bytes : bytes.subarray(0, count), this.#slot!.bytes, this.#used);
    this.#advance(open, count);
    return count;
  }

  #advance(open: { length: number; filled: number }, count: number): void {
    this.#used += count;
    open.filled += count;
    if (open.filled < open.length) return;
    this.#open = undefined;
    if (this.room < smallestSegment) this.flush();
  }

  /** True while a segment was begun and is not full. */
  get inSegment(): boolean {
    return this.#open !== undefined;
  }

  /** Submits what is in the slot. */
  flush(): void {
    const slot = this.#slot;
    if (slot === undefined) return;
    const pieces = this.#pieces;
    this.#slot = undefined;
    this.#pieces = [];
    this.#used = 0;
    this.#pool.submit(
      slot,
      pieces.map(({ length, same, fetch }) => ({ length, old: same?.hash, fetch })),
      (segments) => this.#deliver(pieces, segments),
    );
  }

  #deliver(pieces: readonly Piece[], segments: readonly EncodedSegment[]): void {
    for (const [i, piece] of pieces.entries()) {
      const segment = segments[i]!;
      if (segment.kind === 'new') this.fresh += piece.length;
      piece.sink.segment(piece.ordinal, extentOf(piece, segment));
    }
  }
}

/** A slot with less room than this is submitted: the next segment would hardly fit. */
const smallestSegment = 8 << 10;

function extentOf(piece: Piece, segment: EncodedSegment): Extent {
  if (segment.kind === 'zero') return { length: piece.length, start: 0 };
  if (segment.kind === 'same') return piece.same!;
  return { length: piece.length, chunk: segment.chunk, start: segment.start, hash: segment.hash };
}

/** How a file of this size is cut; a file that is in the parent stays cut as it was. */
export function chunkSizeFor(size: number, parent: FileEntry | undefined): number {
  if (parent && parent.chunkSize > 0) return parent.chunkSize;
  return size <= 64 << 20 ? 128 << 10 : 512 << 10;
}
