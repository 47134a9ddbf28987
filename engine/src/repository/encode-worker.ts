/**
 * Worker thread of the encoder pool: hashes, compares, compresses and encrypts the chunks that the main thread laid into
 * shared slots, and builds packs in shared buffers. It never waits: when it has no pack buffer, jobs queue here.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { onMessage } from '../base/workers.ts';
import { ContentHasher } from './crypto.ts';
import type {
  EncodeJob,
  EncoderKeys,
  Fetch,
  FetcherSetup,
  FromEncoder,
  SegmentResult,
  ToEncoder,
} from './encoder-messages.ts';
import { PackBuilder, packCapacity } from './pack-builder.ts';

interface Setup {
  readonly slots: SharedArrayBuffer;
  readonly slotSize: number;
  readonly packs: SharedArrayBuffer;
  readonly level: number;
  /** Address of the module whose `fetcher` fetches. */
  readonly fetch: string | undefined;
  readonly memory: unknown;
}

const setup = workerData as Setup;
const port = parentPort!;
const zeroes = Buffer.alloc(setup.slotSize);
const waiting: EncodeJob[] = [];
let keys: (EncoderKeys & { readonly hasher: ContentHasher }) | undefined;
let builder: PackBuilder | undefined;
let buffer = -1;
let flushing = false;
const fetch: Fetch | undefined = setup.fetch === undefined ? undefined : await fetcherOf(setup.fetch);

onMessage((message: ToEncoder) => {
  if (message.type === 'keys') keys = { ...message, hasher: new ContentHasher(message.contentKey) };
  else if (message.type === 'job') waiting.push(message);
  else if (message.type === 'buffer') open(message);
  else flushing = true;
  drain();
});

async function fetcherOf(module: string): Promise<Fetch> {
  const { fetcher } = (await import(module)) as { fetcher: (setup: FetcherSetup) => Fetch };
  return fetcher({ memory: setup.memory });
}

function open(message: { buffer: number; packId: string }): void {
  buffer = message.buffer;
  builder = new PackBuilder({
    ...keys!,
    level: setup.level,
    buffer: new Uint8Array(setup.packs, buffer * packCapacity, packCapacity),
    identity: { ...keys!.identity, id: message.packId },
  });
}

function drain(): void {
  while (builder !== undefined && waiting.length > 0) encode(waiting.shift()!);
  if (flushing && waiting.length === 0) {
    if (builder !== undefined && builder.chunkCount > 0) close();
    flushing = false;
    port.postMessage({ type: 'flushed' } satisfies FromEncoder);
  }
}

function encode(job: EncodeJob): void {
  const slot = Buffer.from(setup.slots, job.slot * setup.slotSize, setup.slotSize);
  const results: SegmentResult[] = [];
  const fresh: { length: number; hash: Uint8Array }[] = [];
  const reports: unknown[] = [];
  let at = 0;
  let end = 0;
  for (const { length, old, fetch: what } of job.segments) {
    const bytes = slot.subarray(at, at + length);
    if (what !== undefined) reports.push(...fetch!({ bytes, address: slot.byteOffset + at }, what));
    if (zeroes.subarray(0, length).equals(bytes)) {
      results.push({ kind: 'zero', start: 0 });
    } else {
      const hash = keys!.hasher.hash(bytes);
      if (old !== undefined && hash.equals(old)) {
        results.push({ kind: 'same', start: 0, hash });
      } else {
        results.push({ kind: 'new', start: end, hash });
        fresh.push({ length, hash });
        if (end !== at) slot.copyWithin(end, at, at + length);
        end += length;
      }
    }
    at += length;
  }
  const placed = end > 0 ? builder!.add(slot.subarray(0, end), fresh) : undefined;
  const packId = builder!.identity.id;
  port.postMessage({
    type: 'done',
    job: job.job,
    slot: job.slot,
    packId,
    placed,
    results,
    reports,
  } satisfies FromEncoder);
  if (builder!.full) close();
}

function close(): void {
  const [body, directory] = builder!.finish();
  port.postMessage({
    type: 'packed',
    buffer,
    packId: builder!.identity.id,
    length: body.length,
    directory,
  } satisfies FromEncoder);
  builder = undefined;
}
