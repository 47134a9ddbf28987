/**
 * Worker thread of the decoder pool: authenticates, decrypts, decompresses and checks chunks in shared buffers, and
 * writes their pieces to their places in files. Files exist already; a worker only opens them for writing.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { HelvinoError, systemCode } from '../base/errors.ts';
import { onMessage } from '../base/workers.ts';
import { ChunkOpener } from './chunk-opener.ts';
import { ContentHasher, deriveKey } from './crypto.ts';
import type { ChunkProblem, DecodeChunk, DecodeJob, FromDecoder } from './decoder-messages.ts';
import { packCapacity } from './pack-builder.ts';
import { PieceWriter } from './piece-writer.ts';

interface Setup {
  readonly buffers: SharedArrayBuffer;
  readonly keys: ReadonlyMap<string, Uint8Array>;
  readonly contentKeys: ReadonlyMap<string, Uint8Array>;
}

const setup = workerData as Setup;
const hashers = new Map([...setup.contentKeys].map(([id, key]) => [id, new ContentHasher(key)]));
const packKeys = new Map<string, Buffer>();
const writer = new PieceWriter();
const opener = new ChunkOpener();

onMessage((job: DecodeJob) => {
  const problems: ChunkProblem[] = [];
  let written = 0;
  let failure: FromDecoder['failure'];
  try {
    for (const chunk of job.chunks) written += openAndPlace(job, chunk, problems);
    writer.flush();
  } catch (thrown) {
    failure = failureOf(thrown);
  }
  const { cached } = writer;
  try {
    writer.close();
  } catch (thrown) {
    failure ??= failureOf(thrown);
  }
  opener.clear();
  parentPort!.postMessage({ job: job.job, problems, written, cached, failure } satisfies FromDecoder);
});

/** A disk may say only when a file is closed that it is full. */
function failureOf(thrown: unknown): NonNullable<FromDecoder['failure']> {
  const code = systemCode(thrown);
  if (code === undefined) throw thrown;
  return { code, message: (thrown as Error).message, path: writer.path };
}

/** Returns how many bytes are written, or will be by the next flush. */
function openAndPlace(job: DecodeJob, chunk: DecodeChunk, problems: ChunkProblem[]): number {
  if (!opener.hasRoom(chunk.raw)) {
    writer.flush();
    opener.clear();
  }
  const sealed = new Uint8Array(setup.buffers, job.buffer * packCapacity + chunk.at, chunk.stored);
  const plain = open(chunk, sealed, problems);
  if (plain === undefined) return 0;
  let written = 0;
  for (const piece of chunk.pieces)
    written += writer.place(piece, plain.subarray(piece.start, piece.start + piece.length), job.compare);
  return written;
}

/** Valid until the opener is cleared. */
function open(chunk: DecodeChunk, sealed: Uint8Array, problems: ChunkProblem[]): Uint8Array | undefined {
  const { pack, index, keyId } = chunk;
  const hasher = chunk.hashKeyId === undefined ? undefined : hashers.get(chunk.hashKeyId);
  if (hasher && chunk.storedHash && !hasher.hash(sealed).equals(chunk.storedHash)) {
    problems.push({ pack, index, why: 'its stored bytes were changed' });
    return undefined;
  }
  const key = setup.keys.get(keyId);
  if (key === undefined) return undefined;
  try {
    const made = chunk.origin ?? chunk;
    const plain = opener.open(
      packKey(made.pack, key),
      { pack: made.pack, index: made.index, raw: chunk.raw },
      sealed,
    );
    const bad = hasher && chunk.segments && badSegment(plain, chunk.segments, hasher);
    if (bad === undefined) return plain;
    problems.push({ pack, index, why: `the hash of its bytes from ${bad} on differs` });
  } catch (thrown) {
    problems.push({ pack, index, why: thrown instanceof HelvinoError ? thrown.message : String(thrown) });
  }
  return undefined;
}

function badSegment(
  plain: Uint8Array,
  segments: NonNullable<DecodeChunk['segments']>,
  hasher: ContentHasher,
): number | undefined {
  let at = 0;
  for (const { length, hash } of segments) {
    if (!hasher.hash(plain.subarray(at, at + length)).equals(hash)) return at;
    at += length;
  }
  return at === plain.length ? undefined : at;
}

function packKey(pack: string, key: Uint8Array): Buffer {
  let derived = packKeys.get(pack);
  if (derived === undefined) {
    derived = deriveKey(key, Buffer.from(pack, 'hex'), 'chunk');
    if (packKeys.size > 1000) packKeys.clear();
    packKeys.set(pack, derived);
  }
  return derived;
}
