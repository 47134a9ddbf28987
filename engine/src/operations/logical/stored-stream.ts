/**
 * A byte stream of any length as files of a backup: parts of 1 GiB at `<path>/000000`, `<path>/000001` …, each cut into
 * chunks of 1 MiB. So neither memory nor one file's list of extents grows with the stream.
 */
import {
  type EncoderPool,
  type Extent,
  type FileEntry,
  type Manifest,
  type Repository,
  readFileContent,
  type WorkIndex,
} from '../../repository/index.ts';
import { type FileSink, SegmentFeeder } from '../backup/segment-feeder.ts';

const segmentBytes = 1 << 20;
const segmentsInPart = 1024;

export interface StreamTarget {
  readonly pool: EncoderPool;
  readonly index: WorkIndex;
  readonly feeder: SegmentFeeder;
  /** Seconds since 1970: the time that the files get. */
  readonly mtime: number;
}

export function streamTarget(pool: EncoderPool, index: WorkIndex, mtime: number): StreamTarget {
  return { pool, index, feeder: new SegmentFeeder(pool), mtime };
}

export class StoredStream {
  /** Bytes taken so far. */
  bytes = 0;
  readonly #target: StreamTarget;
  readonly #path: string;
  readonly #buffer = Buffer.allocUnsafe(segmentBytes);
  #filled = 0;
  #parts = 0;
  #part: Part | undefined;

  constructor(target: StreamTarget, path: string) {
    this.#target = target;
    this.#path = path;
  }

  async write(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      const count = Math.min(rest.length, segmentBytes - this.#filled);
      this.#buffer.set(rest.subarray(0, count), this.#filled);
      this.#filled += count;
      rest = rest.subarray(count);
      if (this.#filled === segmentBytes) await this.#submit();
    }
    this.bytes += bytes.length;
  }

  async writeAll(input: AsyncIterable<Uint8Array>, onBytes?: (bytes: Uint8Array) => void): Promise<void> {
    for await (const bytes of input) {
      onBytes?.(bytes);
      await this.write(bytes);
    }
  }

  /** Also an empty stream has a part. The files come into the index once the pool has finished. */
  async end(): Promise<void> {
    if (this.#filled > 0) await this.#submit();
    if (this.#parts === 0) this.#part = this.#newPart();
    this.#part?.end();
    this.#part = undefined;
  }

  async #submit(): Promise<void> {
    const { pool, feeder } = this.#target;
    for (let room = pool.congestion(); room !== undefined; room = pool.congestion()) await room;
    this.#part ??= this.#newPart();
    this.#part.begin(feeder, this.#filled);
    feeder.write(this.#buffer.subarray(0, this.#filled));
    this.#filled = 0;
    if (this.#part.segments < segmentsInPart) return;
    this.#part.end();
    this.#part = undefined;
  }

  #newPart(): Part {
    const number = String(this.#parts++).padStart(6, '0');
    return new Part(`${this.#path}/${number}`, this.#target);
  }
}

class Part implements FileSink {
  readonly #path: string;
  readonly #target: StreamTarget;
  readonly #extents: Extent[] = [];
  #size = 0;
  #waiting = 1;

  constructor(path: string, target: StreamTarget) {
    this.#path = path;
    this.#target = target;
  }

  get segments(): number {
    return this.#extents.length;
  }

  begin(feeder: SegmentFeeder, length: number): void {
    const ordinal = this.#extents.length;
    // Reserves the place: segments come back in any order.
    this.#extents.push({ length, start: 0 });
    this.#size += length;
    this.#waiting++;
    feeder.begin({ length, ordinal, sink: this });
  }

  end(): void {
    this.segment(-1, undefined);
  }

  segment(ordinal: number, extent: Extent | undefined): void {
    if (extent) this.#extents[ordinal] = extent;
    if (--this.#waiting > 0) return;
    this.#target.index.add({
      path: this.#path,
      type: 'file',
      mode: 0o600,
      uid: 0,
      gid: 0,
      mtime: this.#target.mtime,
      size: this.#size,
      chunkSize: segmentBytes,
      extents: this.#extents,
    });
  }
}

/** The streams of a backup below a folder: paths without their parts, in order. */
export async function listStreams(
  repository: Repository,
  manifest: Manifest,
  folder: string,
): Promise<string[]> {
  const streams = new Set<string>();
  for await (const file of repository.files(manifest))
    if (file.path.startsWith(`${folder}/`)) streams.add(file.path.slice(0, file.path.lastIndexOf('/')));
  return [...streams];
}

/** A stored stream again, piece by piece. Nothing when there is none. Throws REPOSITORY_DAMAGED, STORAGE_*. */
export async function* readStream(
  repository: Repository,
  { manifest, keys, path }: { manifest: Manifest; keys: ReadonlyMap<string, Uint8Array>; path: string },
): AsyncGenerator<Uint8Array> {
  for await (const file of partsOf(repository, manifest, path))
    yield* readFileContent(repository, keys, file);
}

async function* partsOf(repository: Repository, manifest: Manifest, path: string): AsyncGenerator<FileEntry> {
  for await (const file of repository.files(manifest))
    if (/^\d{6}$/.test(file.path.slice(path.length + 1)) && file.path.startsWith(`${path}/`)) yield file;
}
