/**
 * Lays the WAL that recovery needs beyond the backup's own into pg_wal, before the server starts: so recovery cannot end
 * early because the store was away. What lies after the end is zero: recovery ends exactly there.
 *
 * Pieces are fetched, opened and written at the same time, a bounded number of them. A segment is marked as archived only
 * once all of it is written, in order; no server can start before all are (see finish.ts).
 */
import { chown, mkdir, open, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import { backupFacts } from '../../catalog/index.ts';
import { formatLsn, parseLsn, walFileName, walSegmentBegin } from '../../postgres/index.ts';
import { LogOpenerPool, type LogSlice } from '../../repository/index.ts';
import { mapParallel } from '../../streams/index.ts';
import { isLoss, type LogRange, lostRun, type PieceRun, type StoredLog } from '../wal/log-bytes.ts';
import type { Owner } from './owner.ts';
import type { ResolvedTarget } from './resolve-target.ts';
import { targetError } from './target.ts';

export interface PlaceWalOptions {
  readonly directory: string;
  readonly target: ResolvedTarget;
  readonly log: StoredLog;
  readonly owner: Owner | 'recorded' | undefined;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** The most memory for pieces, sealed and plain. */
const memoryLimit = 512 << 20;

/** Bytes that will be written; for the check of free space. */
export function walBytes({ manifest, end }: ResolvedTarget): number {
  const facts = backupFacts(manifest);
  const begin = parseLsn(facts.walEnd);
  return end > begin ? Number(end - begin) + 2 * facts.walSegmentSize : 0;
}

/** Throws STORAGE_* when WAL is missing or the store is away: then nothing can be started, and the same restore goes on. */
export async function placeWal(options: PlaceWalOptions): Promise<void> {
  const { directory, target, progress } = options;
  const folder = join(directory, 'pg_wal');
  const { walSegmentSize } = backupFacts(target.manifest);
  const { pool, atOnce } = openers(walSegmentSize);
  try {
    await mkdir(join(folder, 'archive_status'), { recursive: true, mode: 0o700 });
    for (const [name, bytes] of target.histories) await placeFile(options, name, bytes);
    progress.phase('placing WAL', walBytes(target), 'bytes');
    const segments = new Segments(options, walSegmentSize);
    const placed = mapParallel(runs(options), atOnce, (run) =>
      openRun(options, { run, pool, slices: (part) => segments.slices(part) }),
    );
    for await (const run of placed) {
      await segments.finish(run);
      progress.advance(Number(run.to - run.from));
    }
  } catch (thrown) {
    throw targetError(thrown, folder);
  } finally {
    await pool.close();
  }
}

/** Reads and opens all of it, and writes nothing. Throws what `placeWal` would: REPOSITORY_DAMAGED, STORAGE_*. */
export async function proveWal(options: PlaceWalOptions): Promise<void> {
  const { target, progress } = options;
  const { pool, atOnce } = openers(backupFacts(target.manifest).walSegmentSize);
  try {
    progress.phase('reading WAL', walBytes(target), 'bytes');
    const opened = mapParallel(runs(options), atOnce, (run) =>
      openRun(options, { run, pool, slices: async () => [] }),
    );
    for await (const { from, to } of opened) progress.advance(Number(to - from));
  } finally {
    await pool.close();
  }
}

/** How many runs at once: as many as keep the workers busy, and fit into memory. */
function openers(segmentSize: number): { pool: LogOpenerPool; atOnce: number } {
  const workers = Math.max(2, Math.min(8, availableParallelism()));
  const fit = Math.floor(memoryLimit / (2 * segmentSize));
  return { pool: new LogOpenerPool({ workers }), atOnce: Math.max(2, Math.min(workers + 2, fit)) };
}

/** What is to be placed of each timeline, along the path, in order. */
function* stretches({ manifest, path, end }: ResolvedTarget): Generator<LogRange> {
  const { walEnd, walSegmentSize } = backupFacts(manifest);
  let from = walSegmentBegin(parseLsn(walEnd), walSegmentSize);
  for (const { timeline, until } of path) {
    const to = until !== undefined && until < end ? until : end;
    if (from >= to) continue;
    yield { line: timeline, from, to };
    from = walSegmentBegin(to, walSegmentSize);
  }
}

function* runs({ target, log, signal }: PlaceWalOptions): Generator<PieceRun & { readonly last: boolean }> {
  for (const stretch of stretches(target))
    for (const run of log.runs(stretch)) {
      signal.throwIfAborted();
      yield { ...run, last: run.to === stretch.to };
    }
}

/** `slices`: where the bytes of a part go. All of it is opened, wherever they go. */
async function openRun<Run extends PieceRun>(
  { log }: PlaceWalOptions,
  { run, pool, slices }: { run: Run; pool: LogOpenerPool; slices: (part: PieceRun) => Promise<LogSlice[]> },
): Promise<Run> {
  try {
    for (const { piece, from, to, sealed, dataKey } of await log.fetch(run))
      await pool.open({
        name: piece.name,
        sealed,
        dataKey,
        slices: await slices({ piece, from, to }),
      });
    return run;
  } catch (thrown) {
    throw named(thrown, run);
  }
}

/** Says which WAL could not be had, and what can be done now. */
function named(thrown: unknown, { piece, from, to }: PieceRun): unknown {
  if (!(thrown instanceof HelvinoError)) return thrown;
  const what = `WAL of timeline ${piece.line} from ${formatLsn(from)} to ${formatLsn(to)}`;
  const context = { ...thrown.context, timeline: piece.line, from: formatLsn(from), to: formatLsn(to) };
  if (isLoss(thrown)) return lostRun(thrown, { piece, from, to });
  if (!thrown.code.startsWith('STORAGE_')) return thrown;
  return new HelvinoError(thrown.code, `${what} could not be fetched: ${thrown.message}`, {
    hint: 'when the store answers again, run the same restore: it goes on; no server can start on what is half-made',
    cause: thrown,
    context,
  });
}

/** The files in pg_wal: made when their first byte comes, marked when their last one is written. */
class Segments {
  readonly #options: PlaceWalOptions;
  readonly #size: number;
  readonly #made = new Map<string, Promise<void>>();

  constructor(options: PlaceWalOptions, size: number) {
    this.#options = options;
    this.#size = size;
  }

  /** Where the bytes of a run go. The files are there when it resolves. */
  async slices({ piece, from, to }: PieceRun): Promise<LogSlice[]> {
    const slices: LogSlice[] = [];
    for (let at = from; at < to; ) {
      const begin = walSegmentBegin(at, this.#size);
      const end = begin + BigInt(this.#size) < to ? begin + BigInt(this.#size) : to;
      const path = this.#path(piece.line, at);
      await this.#make(path);
      const offsets = { at: Number(at - begin), start: Number(at - piece.begin), length: Number(end - at) };
      slices.push({ path, ...offsets });
      at = end;
    }
    return slices;
  }

  /** Called in order, when all before a run's end is written. */
  async finish({ piece, from, to, last }: PieceRun & { readonly last: boolean }): Promise<void> {
    for (let at = walSegmentBegin(from, this.#size); at < to; at += BigInt(this.#size)) {
      if (at + BigInt(this.#size) > to && !last) return;
      const name = walFileName(piece.line, at, this.#size);
      const path = this.#path(piece.line, at);
      this.#made.delete(path);
      await own(this.#options, path);
      await placeFile(this.#options, `archive_status/${name}.done`, new Uint8Array(0));
    }
  }

  #path(line: number, at: bigint): string {
    return join(this.#options.directory, 'pg_wal', walFileName(line, at, this.#size));
  }

  /** Once each, whoever comes first. */
  #make(path: string): Promise<void> {
    let made = this.#made.get(path);
    if (!made) {
      made = makeFile(path, this.#size);
      this.#made.set(path, made);
    }
    return made;
  }
}

async function makeFile(path: string, size: number): Promise<void> {
  await using file = await open(path, 'w', 0o600);
  await file.truncate(size);
}

async function placeFile(options: PlaceWalOptions, name: string, bytes: Uint8Array): Promise<void> {
  const path = join(options.directory, 'pg_wal', name);
  await writeFile(path, bytes, { mode: 0o600 });
  await own(options, path);
}

async function own({ owner }: PlaceWalOptions, path: string): Promise<void> {
  if (owner !== undefined && owner !== 'recorded') await chown(path, owner.uid, owner.gid);
}
