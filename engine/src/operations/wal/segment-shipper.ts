/**
 * Turns a byte stream of WAL into stored pieces: the open segment in parts about once an interval, then the whole segment,
 * after which its parts are superfluous. What is durable is reported, nothing else: the server may forget it then.
 *
 * Whole segments are sealed and stored several at a time. They are reported, and all that comes after them, in order.
 */
import { copyBytes } from '../../base/aligned-memory.ts';
import { HelvinoError } from '../../base/errors.ts';
import {
  type LogPiece,
  type LogSealer,
  logPieceName,
  putLogPiece,
  type Repository,
} from '../../repository/index.ts';

export interface ShipperOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly timeline: number;
  /** Bytes. */
  readonly segmentSize: number;
  /** Of a segment's begin. */
  readonly start: bigint;
  /** Parts that an earlier stream has left from there on: superfluous once their segments are whole. */
  readonly leftovers?: readonly LogPiece[];
  /** Seals whole segments elsewhere; undefined: here. */
  readonly sealer?: LogSealer;
  /** The data key to use now. */
  readonly dataKey: () => Promise<{ readonly key: Uint8Array; readonly keyId: string }>;
  /** A whole segment is stored, up to `end`; awaited before it is reported durable. */
  readonly onSegment?: (end: bigint) => Promise<void>;
  /** All before this position is durable. */
  readonly onDurable: (position: bigint) => void;
}

/** So many parts give way to one that holds all of them: a server with little to write fills a segment in days. */
const mostParts = 60;

interface OpenSegment {
  readonly begin: bigint;
  /** Memory that its sealing can share. */
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  filled: number;
  /** How much of it is stored in parts. */
  shipped: number;
  readonly parts: string[];
  /** How much of it the first part holds. */
  merged: number;
}

/** Rarely enough that all together no more than three times the segment is written. */
function isToMerge({ parts, merged }: OpenSegment, filled: number): boolean {
  return parts.length >= mostParts && (filled - merged >= merged / 2 || parts.length >= 20 * mostParts);
}

/** Bytes of whole segments that may wait for the store: two to four segments. */
const mostWaiting = 48 << 20;

export class SegmentShipper {
  readonly #options: ShipperOptions;
  #wake: (() => void) | undefined;
  #segment: OpenSegment;
  #work: Promise<void> = Promise.resolve();
  #queued = 0;
  #room: (() => void) | undefined;
  /** Memory of segments that are stored. */
  readonly #free: Uint8Array<SharedArrayBuffer>[] = [];
  #failure: unknown;
  #durable: bigint;

  constructor(options: ShipperOptions) {
    this.#options = options;
    if (options.start % BigInt(options.segmentSize) !== 0n)
      throw new HelvinoError('INTERNAL', 'WAL is shipped from a segment begin');
    this.#segment = this.#open(options.start);
    this.#durable = options.start;
  }

  get received(): bigint {
    return this.#segment.begin + BigInt(this.#segment.filled);
  }

  get durable(): bigint {
    return this.#durable;
  }

  /** Takes a copy. Throws what went wrong in the store. */
  write(bytes: Uint8Array): void {
    if (this.#failure !== undefined) throw this.#failure;
    let rest = bytes;
    while (rest.length > 0) {
      const segment = this.#segment;
      const count = Math.min(rest.length, segment.bytes.length - segment.filled);
      copyBytes(rest.subarray(0, count), segment.bytes, segment.filled);
      segment.filled += count;
      rest = rest.subarray(count);
      if (segment.filled === segment.bytes.length) this.#close();
    }
    this.#wake?.();
  }

  /** Resolves when something is there that is not stored yet, or on the signal. */
  async arrival(signal: AbortSignal): Promise<void> {
    if (signal.aborted || this.received > this.#durable) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = () => resolve();
    this.#wake = wake;
    signal.addEventListener('abort', wake, { once: true });
    await promise;
    signal.removeEventListener('abort', wake);
    this.#wake = undefined;
  }

  /** A promise when enough whole segments wait for the store: then nothing more should be read. */
  congestion(): Promise<void> | undefined {
    if (this.#failure !== undefined) throw this.#failure;
    const most = Math.min(4, Math.max(2, mostWaiting / this.#options.segmentSize));
    if (this.#queued < most) return undefined;
    return new Promise((resolve) => {
      this.#room = resolve;
    });
  }

  /** Stores what has come since the last part. Resolves when it is durable. */
  async ship(): Promise<void> {
    const segment = this.#segment;
    const { filled } = segment;
    this.#enqueue(async () => {
      if (filled <= segment.shipped) return;
      const from = isToMerge(segment, filled) ? 0 : segment.shipped;
      const name = await this.#putPart(segment, from, filled);
      if (name === undefined) return;
      const replaced = from === 0 ? segment.parts.splice(0) : [];
      segment.shipped = filled;
      if (from === 0) segment.merged = filled;
      segment.parts.push(name);
      this.#advance(segment.begin + BigInt(filled));
      await this.#removeParts(replaced);
    });
    await this.#work;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /**
   * Undefined when a part of that name holds other bytes: a server that crashed writes the end of its WAL anew, and the end
   * of the part was of that. The bytes then go with the next part, under another name.
   */
  async #putPart({ begin, bytes }: OpenSegment, from: number, filled: number): Promise<string | undefined> {
    try {
      return await this.#put(begin + BigInt(from), bytes.subarray(from, filled));
    } catch (thrown) {
      if (thrown instanceof HelvinoError && thrown.code === 'WAL_CONFLICT') return undefined;
      throw thrown;
    }
  }

  #open(begin: bigint): OpenSegment {
    const bytes = this.#free.pop() ?? new Uint8Array(new SharedArrayBuffer(this.#options.segmentSize));
    return { begin, bytes, filled: 0, shipped: 0, parts: [], merged: 0 };
  }

  #close(): void {
    const segment = this.#segment;
    const end = segment.begin + BigInt(segment.bytes.length);
    this.#segment = this.#open(end);
    this.#queued++;
    const stored = this.#putWhole(segment);
    // It fails where it is awaited.
    stored.catch(() => undefined);
    this.#enqueue(async () => {
      await stored;
      // Its parts came before it in this row: nobody reads the memory any more.
      this.#free.push(segment.bytes);
      await this.#options.onSegment?.(end);
      this.#advance(end);
      this.#queued--;
      this.#room?.();
      const left = this.#options.leftovers?.filter((p) => p.begin >= segment.begin && p.end <= end) ?? [];
      await this.#removeParts([...new Set([...segment.parts, ...left.map(({ name }) => name)])]);
    });
  }

  /** Only when what holds their bytes is durable. A credential without the right to delete leaves them: they do no harm. */
  async #removeParts(parts: readonly string[]): Promise<void> {
    for (const part of parts) await this.#options.repository.driver.remove(part).catch(() => undefined);
  }

  #enqueue(work: () => Promise<void>): void {
    this.#work = this.#work.then(async () => {
      if (this.#failure !== undefined) return;
      await work().catch((thrown: unknown) => {
        this.#failure = thrown;
        this.#room?.();
      });
    });
  }

  async #putWhole({ begin, bytes }: OpenSegment): Promise<void> {
    const { repository, sealer } = this.#options;
    if (sealer)
      await sealer.put(repository.driver, this.#name(begin, bytes.length), bytes, await this.#keys());
    else await this.#put(begin, bytes);
  }

  async #put(begin: bigint, bytes: Uint8Array): Promise<string> {
    const name = this.#name(begin, bytes.length);
    const passing = bytes.length < this.#options.segmentSize;
    await putLogPiece(this.#options.repository.driver, name, bytes, { ...(await this.#keys()), passing });
    return name;
  }

  #name(begin: bigint, length: number): string {
    const { database, timeline } = this.#options;
    return logPieceName(database, { line: timeline, begin, end: begin + BigInt(length) });
  }

  async #keys() {
    const { key, keyId } = await this.#options.dataKey();
    return { ring: this.#options.repository.ring, dataKey: key, dataKeyId: keyId };
  }

  #advance(position: bigint): void {
    this.#durable = position;
    this.#options.onDurable(position);
  }
}
