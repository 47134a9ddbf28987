/**
 * What a file in a backup is made of. Pure values and pure functions.
 */

/** Where a chunk lies: enough to read it with one ranged get, without opening anything else. */
export interface ChunkRef {
  /** 32 hexadecimal digits. */
  readonly pack: string;
  /** Which key encrypts the pack's chunks. */
  readonly keyId: string;
  /** The chunk's number in its pack: part of the nonce and of the associated data. */
  readonly index: number;
  /** Byte offset in the pack object. */
  readonly offset: number;
  /** Bytes in the pack, authentication tag included. */
  readonly stored: number;
  /** Bytes after decompression. */
  readonly raw: number;
  /** Of a chunk that was copied from the pack in which it was sealed: that place, which it is still sealed to. */
  readonly origin?: { readonly pack: string; readonly index: number };
}

/** A run of bytes of a file: zeroes (`chunk` undefined), or a part of a chunk. */
export interface Extent {
  readonly length: number;
  readonly chunk?: ChunkRef;
  /** Where the run begins in the decompressed chunk. */
  readonly start: number;
  /** Content hash of exactly this run, when it is known: what dedup and `--delta` compare with. */
  readonly hash?: Uint8Array;
}

export interface FileEntry {
  /** Relative to the data directory, `/`-separated: `base/5/16384`, `pg_tblspc/16390/PG_18_202506291/5/16391`. */
  readonly path: string;
  readonly type: 'file' | 'directory' | 'symlink';
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** Bytes; 0 for what is not a file. */
  readonly size: number;
  /** How the file was cut: kept from backup to backup so that equal content stays equally cut. */
  readonly chunkSize: number;
  /** For symlinks. */
  readonly target?: string;
  readonly extents: readonly Extent[];
}

/** A run of new bytes at a place of a file. */
export interface Patch {
  readonly at: number;
  readonly extent: Extent;
}

/**
 * The full view of a file of `size` bytes, of which `patches` (in order of place, not overlapping) are new, the rest up
 * to `keepBelow` is as in `old`, and all else is zero. One pass over both lists.
 */
export function overlayExtents(
  old: readonly Extent[],
  patches: Iterable<Patch>,
  { size, keepBelow }: { size: number; keepBelow: number },
): Extent[] {
  const out: Extent[] = [];
  const cursor = new ExtentCursor(old);
  let at = 0;
  const fill = (until: number) => {
    if (at >= until) return;
    const kept = Math.min(until, keepBelow);
    if (at < kept) for (const extent of cursor.take(at, kept)) push(out, extent);
    const zeroes = until - Math.max(at, kept);
    if (zeroes > 0) push(out, { length: zeroes, start: 0 });
    at = until;
  };
  for (const patch of patches) {
    fill(patch.at);
    push(out, patch.extent);
    at = patch.at + patch.extent.length;
  }
  fill(size);
  return out;
}

/** Walks a list of extents forward; what lies past its end reads as zeroes. */
class ExtentCursor {
  readonly #extents: readonly Extent[];
  #index = 0;
  #base = 0;

  constructor(extents: readonly Extent[]) {
    this.#extents = extents;
  }

  *take(from: number, to: number): Generator<Extent> {
    let at = from;
    while (at < to) {
      const extent = this.#extents[this.#index];
      if (extent === undefined) {
        yield { length: to - at, start: 0 };
        return;
      }
      const end = this.#base + extent.length;
      if (end <= at) {
        this.#base = end;
        this.#index++;
        continue;
      }
      const stop = Math.min(end, to);
      if (at === this.#base && stop === end) yield extent;
      else
        yield {
          length: stop - at,
          chunk: extent.chunk,
          start: extent.chunk ? extent.start + at - this.#base : 0,
        };
      at = stop;
    }
  }
}

/** Appends, joining with the extent before where the two are one run of zeroes or of one chunk. */
function push(out: Extent[], extent: Extent): void {
  const last = out.at(-1);
  if (last && !last.chunk && !extent.chunk)
    out[out.length - 1] = { length: last.length + extent.length, start: 0 };
  else out.push(extent);
}
