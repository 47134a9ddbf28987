/**
 * From tar entries to file entries: the sink of a base backup. Synchronous; the caller asks `pool.congestion()` between
 * reads. Files come out into the work index once all their segments have come back from the encoder, in any order.
 */
import { HelvinoError } from '../../base/errors.ts';
import { IncrementalFileReader } from '../../postgres/index.ts';
import type { EncoderPool, Extent, FileEntry, WorkIndex } from '../../repository/index.ts';
import type { TarEntry, TarHandler } from '../../tar/index.ts';
import { type BlockRun, blockSize, foldedBlocks, foldIncremental } from './fold-incremental.ts';
import { chunkSizeFor, type Piece, SegmentFeeder } from './segment-feeder.ts';

const incrementalPrefix = 'INCREMENTAL.';
/** The longest segment of changed blocks: a slot. */
const longestRun = 1 << 20;

export class Ingest implements TarHandler {
  /** Plain bytes of file content received. */
  received = 0;
  /** Bytes that the files so far have in the backup's view: of a file of which only changed pages came, in the parent's. */
  covered = 0;
  readonly #index: WorkIndex;
  readonly #feeder: SegmentFeeder;
  #prefix = '';
  #covers = 0;
  #open: OpenFile | undefined;

  constructor(pool: EncoderPool, index: WorkIndex) {
    this.#index = index;
    this.#feeder = new SegmentFeeder(pool);
  }

  /** Plain bytes that were new. */
  get fresh(): number {
    return this.#feeder.fresh;
  }

  /** The next entries belong to this tablespace, or to the data directory itself. */
  archive(tablespace: string | undefined): void {
    this.#prefix = tablespace === undefined ? '' : `pg_tblspc/${tablespace}/`;
  }

  entry(header: TarEntry): void {
    const path = this.#prefix + header.path.replace(/\/+$/, '');
    if (header.type !== 'file') {
      if (path !== '' && path !== '.') this.#index.add(plainEntry(path, header));
      return;
    }
    const slash = path.lastIndexOf('/') + 1;
    this.#covers = header.size;
    if (path === 'backup_label') {
      this.#open = new LabelFile(this.#base(path, header), this.#feeder, this.#index);
    } else if (path.startsWith(incrementalPrefix, slash)) {
      const real = path.slice(0, slash) + path.slice(slash + incrementalPrefix.length);
      const base = this.#base(real, header);
      this.#covers = base.parent?.size ?? 0;
      this.#open = new IncrementalOpenFile(base, this.#feeder, this.#index);
    } else {
      this.#open = new PlainOpenFile(this.#base(path, header), this.#feeder, this.#index);
    }
  }

  data(bytes: Uint8Array): void {
    this.received += bytes.length;
    this.#open?.data(bytes);
  }

  entryEnd(): void {
    this.#open?.end();
    this.#open = undefined;
    this.covered += this.#covers;
    this.#covers = 0;
  }

  /** A small file at once, of no time. */
  whole(path: string, content: Uint8Array, facts: Pick<TarEntry, 'mode' | 'uid' | 'gid'>): void {
    this.entry({ path, type: 'file', ...facts, mtime: 0, size: content.length, linkTarget: undefined });
    this.data(content);
    this.entryEnd();
  }

  /** A file that encoders fetch: `header` comes without `entryEnd`. */
  async fetched(header: TarEntry, source: FetchedFile): Promise<void> {
    const file = new PlainOpenFile(this.#base(header.path, header), this.#feeder, this.#index, source.stored);
    for (let offset = 0; offset < header.size; ) {
      await source.room();
      const length = file.lay((at) => source.fetch(at), source.fill);
      this.received += length;
      offset += length;
    }
    file.end();
  }

  /** Submits what waits in a half-filled slot. */
  flush(): void {
    this.#feeder.flush();
  }

  #base(path: string, header: TarEntry): FileBase {
    const parent = this.#index.parent(path);
    const { mode, uid, gid, mtime, size } = header;
    return {
      path,
      mode: mode & 0o7777,
      uid,
      gid,
      mtime,
      size,
      parent: parent?.type === 'file' ? parent : undefined,
    };
  }
}

/** How the content of a file comes that is not pushed. */
export interface FetchedFile {
  /** To be awaited before each segment. */
  room(): Promise<void>;
  /** What the encoder is told of the segment that begins at `offset`. */
  fetch(offset: number): unknown;
  /** Puts the bytes there at once; left out: the encoder does it. */
  readonly fill?: (into: Uint8Array, offset: number) => void;
  /** Called when all of it is encoded. */
  readonly stored?: () => void;
}

function plainEntry(path: string, header: TarEntry): FileEntry {
  const { type, mode, uid, gid, mtime, linkTarget } = header;
  return {
    path,
    type,
    mode: mode & 0o7777,
    uid,
    gid,
    mtime,
    size: 0,
    chunkSize: 0,
    target: linkTarget,
    extents: [],
  };
}

interface FileBase {
  readonly path: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtime: number;
  /** Bytes in the archive. */
  readonly size: number;
  readonly parent: FileEntry | undefined;
}

interface OpenFile {
  data(bytes: Uint8Array): void;
  end(): void;
}

/** A file that was sent whole. */
class PlainOpenFile implements OpenFile {
  readonly #base: FileBase;
  readonly #feeder: SegmentFeeder;
  readonly #index: WorkIndex;
  readonly #chunkSize: number;
  readonly #extents: Extent[] = [];
  readonly #old: OldSegments;
  readonly #stored: (() => void) | undefined;
  #offset = 0;
  #waiting = 1;

  constructor(base: FileBase, feeder: SegmentFeeder, index: WorkIndex, stored?: () => void) {
    this.#base = base;
    this.#feeder = feeder;
    this.#index = index;
    this.#stored = stored;
    this.#chunkSize = chunkSizeFor(base.size, base.parent);
    this.#old = new OldSegments(base.parent?.extents ?? []);
  }

  data(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0) {
      if (!this.#feeder.inSegment) this.#feeder.begin(this.#next());
      rest = rest.subarray(this.#feeder.write(rest));
    }
  }

  /** The next segment, to be fetched; its length. */
  lay(fetch: FetchedFile['fetch'], fill: FetchedFile['fill']): number {
    const offset = this.#offset;
    const piece = { ...this.#next(), fetch: fetch(offset) };
    this.#feeder.lay(piece, fill && ((into) => fill(into, offset)));
    return piece.length;
  }

  end(): void {
    this.segment(-1, undefined);
  }

  segment(ordinal: number, extent: Extent | undefined): void {
    if (extent) this.#extents[ordinal] = extent;
    if (--this.#waiting > 0) return;
    const { path, mode, uid, gid, mtime, size } = this.#base;
    this.#index.add({
      path,
      type: 'file',
      mode,
      uid,
      gid,
      mtime,
      size,
      chunkSize: this.#chunkSize,
      extents: this.#extents,
    });
    this.#stored?.();
  }

  #next(): Piece {
    const length = Math.min(this.#chunkSize, this.#base.size - this.#offset);
    const ordinal = this.#extents.length;
    // Reserves the place: segments come back in any order.
    this.#extents.push({ length, start: 0 });
    this.#waiting++;
    const same = this.#old.at(this.#offset, length);
    this.#offset += length;
    return { length, ordinal, sink: this, same };
  }
}

/**
 * The backup label. Of an incremental backup it says so, and a server refuses to start on it; since what is stored is a full
 * view, those lines are left out, as `pg_combinebackup` does.
 */
class LabelFile implements OpenFile {
  readonly #base: FileBase;
  readonly #feeder: SegmentFeeder;
  readonly #index: WorkIndex;
  readonly #pieces: Uint8Array[] = [];

  constructor(base: FileBase, feeder: SegmentFeeder, index: WorkIndex) {
    this.#base = base;
    this.#feeder = feeder;
    this.#index = index;
  }

  data(bytes: Uint8Array): void {
    this.#pieces.push(Uint8Array.from(bytes));
  }

  end(): void {
    const lines = Buffer.concat(this.#pieces).toString('latin1').split('\n');
    const text = Buffer.from(
      lines.filter((line) => !line.startsWith('INCREMENTAL FROM ')).join('\n'),
      'latin1',
    );
    const file = new PlainOpenFile({ ...this.#base, size: text.length }, this.#feeder, this.#index);
    file.data(text);
    file.end();
  }
}

/** Finds the parent's extent at exactly a place and length; asked in ascending order. */
class OldSegments {
  readonly #extents: readonly Extent[];
  #index = 0;
  #base = 0;

  constructor(extents: readonly Extent[]) {
    this.#extents = extents;
  }

  at(offset: number, length: number): Extent | undefined {
    let extent = this.#extents[this.#index];
    while (extent && this.#base < offset) {
      this.#base += extent.length;
      extent = this.#extents[++this.#index];
    }
    return extent && this.#base === offset && extent.length === length && extent.hash ? extent : undefined;
  }
}

/** A file of which a PostgreSQL 17+ server sent only the changed blocks. */
class IncrementalOpenFile implements OpenFile {
  readonly #base: FileBase & { parent: FileEntry };
  readonly #feeder: SegmentFeeder;
  readonly #index: WorkIndex;
  readonly #reader: IncrementalFileReader;
  readonly #runs: (Omit<BlockRun, 'extent'> & { extent?: Extent })[] = [];
  #truncationBlocks = 0;
  #blocks: Uint32Array = new Uint32Array(0);
  #begun = 0;
  #waiting = 1;

  constructor(base: FileBase, feeder: SegmentFeeder, index: WorkIndex) {
    if (base.parent === undefined) {
      throw new HelvinoError(
        'PROTOCOL',
        `the server sent changed blocks of ${base.path}, which the parent backup does not have`,
        {
          hint: 'run `helvino backup --full`',
          context: { path: base.path },
        },
      );
    }
    this.#base = { ...base, parent: base.parent };
    this.#feeder = feeder;
    this.#index = index;
    this.#reader = new IncrementalFileReader({
      header: ({ truncationBlocks, blocks }) => {
        this.#truncationBlocks = truncationBlocks;
        this.#blocks = blocks;
      },
      data: (bytes) => this.#pages(bytes),
    });
  }

  data(bytes: Uint8Array): void {
    this.#reader.push(bytes);
  }

  end(): void {
    this.#reader.end();
    this.segment(-1, undefined);
  }

  segment(ordinal: number, extent: Extent | undefined): void {
    if (extent) this.#runs[ordinal] = { ...this.#runs[ordinal]!, extent };
    if (--this.#waiting > 0) return;
    const { parent, path, mode, uid, gid, mtime } = this.#base;
    const view = { truncationBlocks: this.#truncationBlocks, blocks: this.#blocks };
    const extents = foldIncremental({ ...view, old: parent.extents, runs: this.#runs as BlockRun[] });
    const size = foldedBlocks(view) * blockSize;
    this.#index.add({
      path,
      type: 'file',
      mode,
      uid,
      gid,
      mtime,
      size,
      chunkSize: parent.chunkSize,
      extents,
    });
  }

  #pages(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > 0) {
      if (!this.#feeder.inSegment) this.#next();
      rest = rest.subarray(this.#feeder.write(rest));
    }
  }

  #next(): void {
    const left = (this.#blocks.length - this.#begun) * blockSize;
    const room = Math.floor(this.#feeder.room / blockSize) * blockSize;
    const length = Math.min(left, room > 0 ? room : longestRun);
    const ordinal = this.#runs.length;
    this.#runs.push({ from: this.#begun, count: length / blockSize });
    this.#begun += length / blockSize;
    this.#waiting++;
    this.#feeder.begin({ length, ordinal, sink: this });
  }
}
