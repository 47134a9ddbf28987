/** Checks packs one by one: header, directory, and with `readData` every stored byte and, with keys, every plain byte. */
import { availableParallelism } from 'node:os';
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import {
  type ChunkProblem,
  DecoderPool,
  type PackContents,
  type PackList,
  packName,
  type Repository,
  readPackContents,
} from '../../repository/index.ts';
import { mapParallel } from '../../streams/index.ts';

import type { ChunkPlaces } from './chunk-places.ts';

const longestRun = 8 << 20;
/** Packs at a time where each of the four requests for one waits for a network. */
const distantAtOnce = 4;

export interface PackFault {
  readonly pack: string;
  /** Chunks that are bad; undefined: none of the pack's bytes can be trusted. */
  readonly chunks?: ReadonlySet<number>;
  readonly why: string;
}

export interface CheckPacksOptions {
  readonly repository: Repository;
  readonly packs: PackList;
  readonly places: ChunkPlaces;
  readonly readData: boolean;
  /** Data keys by id; without them only stored bytes are checked. */
  readonly keys: ReadonlyMap<string, Uint8Array>;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface CheckedPacks {
  readonly faults: Map<string, PackFault>;
  readonly bytesRead: number;
  /** In an archive class: they were not looked at. */
  readonly archived: number;
}

export async function checkPacks(options: CheckPacksOptions): Promise<CheckedPacks> {
  const { repository, packs, readData, progress, signal } = options;
  progress.phase(
    readData ? 'reading every byte' : 'checking packs',
    readData ? packs.bytes : packs.length,
    readData ? 'bytes' : 'items',
  );
  const keys = new Map([...options.keys, ...structureKeys(repository)]);
  const workers = Math.max(2, Math.min(8, availableParallelism()));
  const { distant } = repository.driver.capabilities;
  const pool = readData ? new DecoderPool({ keys, ring: repository.ring, workers, distant }) : undefined;
  const faults = new Map<string, PackFault>();
  let bytesRead = 0;
  let archived = 0;
  try {
    const checked = mapParallel(packs, distant ? distantAtOnce : 1, async (pack) => {
      signal.throwIfAborted();
      return { pack, fault: await checkPack(repository, { pack, pool, places: options.places }) };
    });
    for await (const { pack, fault } of checked) {
      if (fault === 'archived') archived++;
      else if (fault) faults.set(pack.id, fault);
      if (readData && fault !== 'archived') bytesRead += pack.size;
      progress.advance(readData ? pack.size : 1);
    }
  } finally {
    await pool?.close();
  }
  return { faults, bytesRead, archived };
}

function structureKeys(repository: Repository): [string, Uint8Array][] {
  return repository.ring.ids.map((id) => [id, repository.ring.find(id)!]);
}

async function checkPack(
  repository: Repository,
  {
    pack,
    pool,
    places,
  }: { pack: { id: string; size: number }; pool: DecoderPool | undefined; places: ChunkPlaces },
): Promise<PackFault | 'archived' | undefined> {
  try {
    const contents = await readPackContents(repository.driver, pack.id, repository.ring);
    if (contents.size !== pack.size)
      return { pack: pack.id, why: `it has ${contents.size} bytes, not ${pack.size}` };
    places.add(contents);
    const problems = pool ? await readAll(repository, pool, contents) : [];
    if (problems.length === 0) return undefined;
    return { pack: pack.id, chunks: new Set(problems.map((p) => p.index)), why: problems[0]!.why };
  } catch (thrown) {
    if (thrown instanceof HelvinoError && thrown.code === 'STORAGE_ARCHIVED') return 'archived';
    if (thrown instanceof HelvinoError && isDamage(thrown)) return { pack: pack.id, why: thrown.message };
    throw thrown;
  }
}

function isDamage(error: HelvinoError): boolean {
  return ['REPOSITORY_DAMAGED', 'STORAGE_NOT_FOUND', 'STORAGE_SHORT_READ', 'STORAGE_IO'].includes(error.code);
}

async function readAll(
  repository: Repository,
  pool: DecoderPool,
  contents: PackContents,
): Promise<ChunkProblem[]> {
  const { id, keyId, catalogKeyId } = contents.identity;
  const jobs: Promise<readonly ChunkProblem[]>[] = [];
  let from = 0;
  while (from < contents.chunks.length) {
    const first = contents.chunks[from]!;
    let to = from + 1;
    while (
      to < contents.chunks.length &&
      contents.chunks[to]!.offset + contents.chunks[to]!.stored - first.offset <= longestRun
    )
      to++;
    const last = contents.chunks[to - 1]!;
    const length = last.offset + last.stored - first.offset;
    const buffer = await pool.buffer();
    try {
      await repository.driver.get(
        packName(id),
        { offset: first.offset, length },
        buffer.bytes.subarray(0, length),
      );
    } catch (thrown) {
      pool.giveBack(buffer);
      await Promise.allSettled(jobs);
      throw thrown;
    }
    const chunks = contents.chunks.slice(from, to).map((chunk, i) => ({
      ...chunk,
      pack: id,
      hashKeyId: catalogKeyId,
      keyId: chunk.origin?.keyId ?? keyId,
      index: from + i,
      at: chunk.offset - first.offset,
      pieces: [],
    }));
    jobs.push(pool.decode(buffer, chunks).then((outcome) => outcome.problems));
    from = to;
  }
  return (await Promise.all(jobs)).flat();
}
