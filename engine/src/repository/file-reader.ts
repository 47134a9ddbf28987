/**
 * The content of a file in a backup, in order, for whoever wants a stream (a restored server gets its files from the
 * decoder pool, in the order of the packs). Reads ahead by one window; memory is two windows, whatever the file's size.
 */
import { HelvinoError } from '../base/errors.ts';
import { deriveKey } from './crypto.ts';
import type { ChunkRef, Extent, FileEntry } from './extents.ts';
import { packName } from './layout.ts';
import { openChunk } from './pack-format.ts';
import type { Repository } from './repository.ts';

/** Plain bytes that are read at a time. */
const windowBytes = 16 << 20;
/** Chunks that are nearer to each other than this are read in one go. */
const gap = 128 << 10;
const longestRun = 8 << 20;
const zeroes = new Uint8Array(1 << 20);

/** `keys`: repository.dataKeys(). The pieces are the caller's. Throws REPOSITORY_DAMAGED, STORAGE_*. */
export async function* readFileContent(
  repository: Repository,
  keys: ReadonlyMap<string, Uint8Array>,
  file: FileEntry,
): AsyncGenerator<Uint8Array> {
  let next: Promise<Uint8Array[]> | undefined;
  for (const window of windows(file.extents)) {
    const current = next;
    next = load(repository, keys, window);
    // What fails while the consumer is busy is told when its turn comes.
    next.catch(() => undefined);
    if (current !== undefined) yield* await current;
  }
  if (next !== undefined) yield* await next;
}

function* windows(extents: readonly Extent[]): Generator<Extent[]> {
  let window: Extent[] = [];
  let bytes = 0;
  for (const extent of extents) {
    if (bytes > 0 && bytes + extent.length > windowBytes) {
      yield window;
      window = [];
      bytes = 0;
    }
    window.push(extent);
    bytes += extent.length;
  }
  if (window.length > 0) yield window;
}

const nameOf = (chunk: ChunkRef) => `${chunk.pack}/${chunk.index}`;

async function load(
  repository: Repository,
  keys: ReadonlyMap<string, Uint8Array>,
  window: readonly Extent[],
): Promise<Uint8Array[]> {
  const chunks = new Map<string, ChunkRef>();
  for (const { chunk } of window) if (chunk) chunks.set(nameOf(chunk), chunk);
  const plain = new Map<string, Uint8Array>();
  await Promise.all(
    runs([...chunks.values()]).map(async (run) => {
      const offset = run[0]!.offset;
      const last = run.at(-1)!;
      const bytes = await repository.driver.get(packName(last.pack), {
        offset,
        length: last.offset + last.stored - offset,
      });
      for (const chunk of run)
        plain.set(
          nameOf(chunk),
          open(chunk, bytes.subarray(chunk.offset - offset, chunk.offset - offset + chunk.stored), keys),
        );
    }),
  );
  return window.flatMap(({ chunk, start, length }) =>
    chunk ? [plain.get(nameOf(chunk))!.subarray(start, start + length)] : zeroPieces(length),
  );
}

function zeroPieces(length: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let left = length; left > 0; left -= zeroes.length)
    pieces.push(zeroes.subarray(0, Math.min(left, zeroes.length)));
  return pieces;
}

function runs(chunks: ChunkRef[]): ChunkRef[][] {
  chunks.sort((a, b) => (a.pack === b.pack ? a.offset - b.offset : a.pack < b.pack ? -1 : 1));
  const result: ChunkRef[][] = [];
  for (const chunk of chunks) {
    const run = result.at(-1);
    const last = run?.at(-1);
    const end = last && last.offset + last.stored;
    if (
      run &&
      last!.pack === chunk.pack &&
      chunk.offset - end! <= gap &&
      chunk.offset + chunk.stored - run[0]!.offset <= longestRun
    )
      run.push(chunk);
    else result.push([chunk]);
  }
  return result;
}

function open(chunk: ChunkRef, sealed: Uint8Array, keys: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const key = keys.get(chunk.keyId);
  if (key === undefined)
    throw new HelvinoError(
      'REPOSITORY_DAMAGED',
      `${packName(chunk.pack)} holds a part of this file under the key ${chunk.keyId}, which the manifest does not name`,
      { context: { object: packName(chunk.pack) } },
    );
  const made = chunk.origin ?? chunk;
  const derived = deriveKey(key, Buffer.from(made.pack, 'hex'), 'chunk');
  return openChunk(derived, { pack: made.pack, index: made.index, raw: chunk.raw }, sealed);
}
