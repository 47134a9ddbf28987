/** Reads each pack that is needed once, in runs, and has its chunks written to their places. */
import { availableParallelism } from 'node:os';
import { directAlignment } from '../../base/aligned-memory.ts';
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import {
  type ChunkProblem,
  type DecodeChunk,
  type DecodedPiece,
  DecoderPool,
  packCapacity,
  packName,
  type Repository,
} from '../../repository/index.ts';
import type { RestoreIndex, WantedPiece } from './restore-index.ts';
import { WriteBehind } from './write-behind.ts';

interface Reach {
  /** Chunks that are nearer to each other than this are read in one go. */
  readonly gap: number;
  /** A run is at most this long. */
  readonly longest: number;
}

/** Short runs, so that reading and decoding overlap. */
const near: Reach = { gap: 128 << 10, longest: 8 << 20 };
/** Each run is a request, which is paid for and takes as long as megabytes of what lies between. */
const far: Reach = { gap: 2 << 20, longest: packCapacity };

export interface WriteOptions {
  readonly repository: Repository;
  readonly keys: ReadonlyMap<string, Uint8Array>;
  readonly index: RestoreIndex;
  /** Write only what differs from what is in the files. */
  readonly compare: boolean;
  readonly progress: Progress;
  readonly signal: AbortSignal;
  /** Names for people: path in the target to file and table. */
  readonly describe: (paths: readonly string[]) => Promise<string>;
}

interface Run {
  readonly pack: string;
  readonly offset: number;
  end: number;
  readonly chunks: { piece: WantedPiece; pieces: DecodedPiece[] }[];
}

/** Bytes written. Throws REPOSITORY_DAMAGED naming the files that damage touches. */
export async function writePacks(options: WriteOptions): Promise<number> {
  const { repository, keys, index, progress } = options;
  progress.phase('restoring', index.wantedBytes(), 'bytes');
  // More than processors: each waits for the disk, which is quicker, and more even, when it has several things to do at once.
  const workers = Math.min(8, Math.max(6, availableParallelism() + 1));
  const { distant } = repository.driver.capabilities;
  const pool = new DecoderPool({ keys, ring: repository.ring, workers, distant });
  const writer = new RunWriter(options, pool);
  try {
    for (const run of runs(index.pieces(), distant ? far : near)) await writer.start(run);
    return await writer.end();
  } finally {
    await pool.close();
  }
}

class RunWriter {
  #written = 0;
  #failure: unknown;
  readonly #options: WriteOptions;
  readonly #pool: DecoderPool;
  readonly #running = new Set<Promise<void>>();
  readonly #behind = new WriteBehind();

  constructor(options: WriteOptions, pool: DecoderPool) {
    this.#options = options;
    this.#pool = pool;
  }

  async start(run: Run): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#options.signal.throwIfAborted();
    await this.#assertKeys(run);
    const buffer = await this.#pool.buffer();
    const task = this.#one(run, buffer)
      .catch((thrown: unknown) => {
        this.#failure ??= thrown;
      })
      .finally(() => this.#running.delete(task));
    this.#running.add(task);
  }

  async end(): Promise<number> {
    await Promise.all(this.#running);
    await this.#behind.end();
    if (this.#failure !== undefined) throw this.#failure;
    return this.#written;
  }

  async #one(run: Run, buffer: Awaited<ReturnType<DecoderPool['buffer']>>): Promise<void> {
    const { repository, compare, progress } = this.#options;
    const length = run.end - run.offset;
    try {
      await repository.driver.get(
        packName(run.pack),
        { offset: run.offset, length },
        buffer.bytes.subarray(0, length),
      );
    } catch (thrown) {
      this.#pool.giveBack(buffer);
      throw await this.#explain(run, thrown);
    }
    const outcome = await this.#pool.decode(
      buffer,
      run.chunks.map((chunk) => job(chunk, run.offset)),
      compare,
    );
    if (outcome.problems.length > 0) throw await this.#damaged(run, outcome.problems);
    this.#written += outcome.written;
    if (outcome.cached > 0) this.#noteWritten(run);
    progress.advance(run.chunks.reduce((sum, { piece }) => sum + piece.chunk.stored, 0));
  }

  /** The decoder passes over chunks without a key, which for `verify` is right. */
  async #assertKeys(run: Run): Promise<void> {
    const closed = run.chunks.filter(({ piece }) => !this.#options.keys.has(piece.chunk.keyId));
    if (closed.length === 0) return;
    const why = `the manifest does not name the key ${closed[0]!.piece.chunk.keyId}`;
    throw await this.#damaged(
      run,
      closed.map(({ piece }) => ({ pack: run.pack, index: piece.chunk.index, why })),
    );
  }

  #noteWritten(run: Run): void {
    for (const { pieces } of run.chunks)
      for (const { path, length } of pieces) this.#behind.wrote(path, length);
  }

  async #explain(run: Run, thrown: unknown): Promise<unknown> {
    if (
      !(thrown instanceof HelvinoError) ||
      (thrown.code !== 'STORAGE_NOT_FOUND' && thrown.code !== 'STORAGE_SHORT_READ')
    )
      return thrown;
    const why = thrown.code === 'STORAGE_NOT_FOUND' ? 'it is missing' : 'it is too short';
    return this.#damaged(
      run,
      run.chunks.map(({ piece }) => ({ pack: run.pack, index: piece.chunk.index, why })),
    );
  }

  async #damaged(run: Run, problems: readonly ChunkProblem[]): Promise<HelvinoError> {
    const bad = new Set(problems.map((problem) => problem.index));
    const paths = run.chunks
      .filter(({ piece }) => bad.has(piece.chunk.index))
      .flatMap(({ pieces }) => pieces.map((p) => p.path));
    const files = await this.#options.describe([...new Set(paths)]);
    return new HelvinoError(
      'REPOSITORY_DAMAGED',
      `${packName(run.pack)} is damaged (${problems[0]!.why}); it holds parts of ${files}`,
      {
        hint: 'the restore was stopped and the directory cannot be started; restore an earlier backup, or from another copy',
        context: { object: packName(run.pack), paths },
      },
    );
  }
}

function job({ piece, pieces }: Run['chunks'][number], offset: number): DecodeChunk {
  const { chunk } = piece;
  return {
    pack: chunk.pack,
    keyId: chunk.keyId,
    index: chunk.index,
    origin: chunk.origin,
    at: chunk.offset - offset,
    stored: chunk.stored,
    raw: chunk.raw,
    pieces,
  };
}

function* runs(pieces: Iterable<WantedPiece>, { gap, longest }: Reach): Generator<Run> {
  let run: Run | undefined;
  for (const piece of pieces) {
    const { chunk, path, at, start, length } = piece;
    const part = { path, at, start, length };
    const last = run?.chunks.at(-1);
    if (run?.pack === chunk.pack && last?.piece.chunk.index === chunk.index) {
      last.pieces.push(part);
      continue;
    }
    const end = chunk.offset + chunk.stored;
    if (run && run.pack === chunk.pack && chunk.offset - run.end <= gap && end - run.offset <= longest) {
      run.end = end;
      run.chunks.push({ piece, pieces: [part] });
      continue;
    }
    if (run) yield run;
    // From a whole page of the disk on, so that it can be read past the page cache.
    const offset = chunk.offset - (chunk.offset % directAlignment);
    run = { pack: chunk.pack, offset, end, chunks: [{ piece, pieces: [part] }] };
  }
  if (run) yield run;
}
