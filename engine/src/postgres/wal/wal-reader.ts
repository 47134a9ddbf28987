/**
 * Reads WAL records from a byte stream: pages, records that span pages and segments, CRC-32C of each. Synchronous and
 * incremental; no input or output. Formats: src/include/access/xlog_internal.h (pages) and xlogrecord.h (records);
 * https://www.postgresql.org/docs/current/wal-internals.html
 *
 * Positions are numbers inside: a server would have to write 9 PB before they lost a bit.
 */
import { HelvinoError } from '../../base/errors.ts';
import { formatLsn } from '../lsn.ts';
import { crcEnd, crcStart, crcUpdate, wordsOf } from './crc32c.ts';
import { walMajors } from './segment-header.ts';

const pageSize = 8192;
const shortHeader = 24;
const longHeader = 40;
const recordHeader = 24;
/** XLP_LONG_HEADER and XLP_FIRST_IS_CONTRECORD, XLP_FIRST_IS_OVERWRITE_CONTRECORD of xlp_info. */
const infoContinued = 0x1;
const infoLong = 0x2;
const infoOverwrite = 0x8;
/** RM_XLOG_ID with XLOG_SWITCH: the rest of the segment is unused. */
const switchInfo = 0x40;
/** The server refuses longer ones (XLogRecordMaxSize, 1020 MiB). */
const longestRecord = 1020 << 20;

/** One object serves all records of a reader: it, and the memory it shows, is valid during the call only. */
export interface WalRecord {
  /** Where it begins. */
  readonly lsn: bigint;
  /** The position after it, rounded up to where the next one can begin. */
  readonly end: bigint;
  /** The same two as numbers, which are quicker. */
  readonly start: number;
  readonly after: number;
  readonly xid: number;
  readonly resourceManager: number;
  /** The resource manager's bits and the general ones. */
  readonly info: number;
  /** The server's major version, as the page says: 14 to 18. */
  readonly major: number;
  /** The whole record, header included. */
  readonly bytes: Uint8Array;
  /** Where `bytes` is taken from, for those who read without making a view: [offset, offset + length) of `buffer`. */
  readonly buffer: Buffer;
  readonly offset: number;
  readonly length: number;
}

class CurrentRecord implements WalRecord {
  start = 0;
  after = 0;
  xid = 0;
  resourceManager = 0;
  info = 0;
  major = 0;
  buffer: Buffer = Buffer.alloc(0);
  offset = 0;
  length = 0;

  get lsn(): bigint {
    return BigInt(this.start);
  }

  get end(): bigint {
    return BigInt(this.after);
  }

  get bytes(): Uint8Array {
    return this.buffer.subarray(this.offset, this.offset + this.length);
  }
}

interface Memory {
  readonly bytes: Buffer;
  readonly words: Int32Array;
}

/**
 * A record of which only the first part was read, without its content: enough to check its CRC when the rest comes to another
 * reader. Content is not kept, so that what only a recovery identity may read is not in an index.
 */
export interface SpanningRecord {
  /** Where it begins, and where reading stopped, as decimals. */
  readonly start: string;
  readonly at: string;
  /** Bytes; 0: not known yet. */
  readonly length: number;
  readonly filled: number;
  /** What was read of its header, in hexadecimal. */
  readonly header: string;
  /** Over what was read behind the header. */
  readonly crc: number;
}

export interface WalReaderOptions {
  /** Of the first byte that will be pushed: a page's begin. Records that began before it are skipped. */
  readonly start: bigint;
  /** Bytes. */
  readonly segmentSize: number;
  readonly onRecord: (record: WalRecord) => void;
  /** The record that `start` lies in, if another reader has read its first part. It is checked; `onRecord` does not get it. */
  readonly spanning?: SpanningRecord | undefined;
}

export class WalReader {
  readonly #segmentSize: number;
  readonly #onRecord: (record: WalRecord) => void;
  readonly #page = Buffer.alloc(longHeader);
  readonly #current = new CurrentRecord();
  #position: number;
  /** Bytes of the header of the page at hand that are still to come. */
  #headerLeft = 0;
  #headerFilled = 0;
  /** Bytes of a record from before the start, or padding, that are still to be skipped. */
  #skip = 0;
  #searching = true;
  /** A record that does not lie in one piece is put together here. */
  #record: Memory = memory(Buffer.alloc(64 << 10));
  #input: Memory = this.#record;
  #filled = 0;
  /** Over the first bytes of the record at hand, those behind its header: how many of it, and their CRC. */
  #sum = { filled: recordHeader, crc: crcStart };
  /** The first bytes of the record at hand were read by another reader, and are not here. */
  #isCarried = false;
  /** The record at hand, as it was at each segment's begin that it goes across. */
  #crossed: SpanningRecord[] = [];
  /** Length of the record at hand; 0: not known yet. */
  #length = 0;
  #recordStart = 0;
  #skipUntil = 0;
  #lastEnd = 0;
  #begin: number;

  constructor(options: WalReaderOptions) {
    if (options.start % BigInt(pageSize) !== 0n)
      throw new HelvinoError('INTERNAL', `WAL is read from a page's begin, not ${formatLsn(options.start)}`);
    if (options.start > BigInt(Number.MAX_SAFE_INTEGER))
      throw new HelvinoError('PROTOCOL', `${formatLsn(options.start)} is no position that a server reaches`);
    this.#segmentSize = options.segmentSize;
    this.#onRecord = options.onRecord;
    this.#position = Number(options.start);
    this.#begin = this.#position;
    if (options.spanning) this.#resume(options.spanning);
  }

  #resume({ start, at, length, filled, header, crc }: SpanningRecord): void {
    const known = Buffer.from(header, 'hex');
    const fits = Number(at) === this.#position && filled > 0 && (length > 0 ? filled < length : filled < 4);
    // What does not say how the record goes on is no help: it is skipped then.
    if (!fits || length > longestRecord || known.length !== Math.min(filled, recordHeader)) return;
    this.#searching = false;
    this.#begin = Number(start);
    this.#recordStart = Number(start);
    this.#length = length;
    this.#filled = filled;
    this.#record = memory(Buffer.alloc(Math.max(64 << 10, length)));
    known.copy(this.#record.bytes);
    this.#isCarried = filled > recordHeader;
    if (this.#isCarried) this.#sum = { filled, crc };
  }

  /** The record of which only a part has come; undefined between two records, and where its begin was not read. */
  get spanning(): SpanningRecord | undefined {
    return this.#filled === 0 ? undefined : this.#spanningAt(this.#position, this.#sumOf(this.#filled).crc);
  }

  /** The same as it was at the begin of a segment. */
  spanningAt(segment: bigint): SpanningRecord | undefined {
    if (segment === BigInt(this.#position)) return this.spanning;
    return this.#crossed.find(({ at }) => at === String(segment));
  }

  #spanningAt(at: number, crc: number): SpanningRecord {
    return {
      start: String(this.#recordStart),
      at: String(at),
      length: this.#length,
      filled: this.#filled,
      header: this.#record.bytes.toString('hex', 0, Math.min(this.#filled, recordHeader)),
      crc,
    };
  }

  #sumOf(filled: number): { filled: number; crc: number } {
    const { filled: from, crc } = this.#sum;
    return filled > from ? { filled, crc: crcUpdate(crc, this.#record, from, filled) } : this.#sum;
  }

  /** The end of the last whole record; 0 before the first. */
  get lastEnd(): bigint {
    return BigInt(this.#lastEnd);
  }

  /**
   * Throws PROTOCOL for damage: a wrong CRC, an impossible header, a page that was never written or is of another time. In a
   * data directory that is how WAL ends; a server sends no such bytes, so in what was stored the server's recovery would end
   * there, before the WAL does, without a word.
   */
  push(bytes: Uint8Array): void {
    this.#input = memory(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    let at = 0;
    while (at < bytes.length) {
      const count =
        this.#position < this.#skipUntil ? this.#skipOver(bytes.length - at) : this.#step(bytes, at);
      at += count;
      this.#position += count;
    }
  }

  /** The rest of a segment after a switch, page headers included. */
  #skipOver(have: number): number {
    this.#headerFilled = 0;
    this.#headerLeft = 0;
    return Math.min(have, this.#skipUntil - this.#position);
  }

  #step(bytes: Uint8Array, at: number): number {
    const have = bytes.length - at;
    const inPage = this.#position % pageSize;
    if (inPage === 0 && this.#headerLeft === 0 && this.#headerFilled === 0)
      this.#headerLeft = this.#position % this.#segmentSize === 0 ? longHeader : shortHeader;
    if (this.#headerLeft > 0) return this.#takeHeader(bytes, at, Math.min(have, this.#headerLeft));
    const room = Math.min(have, pageSize - inPage);
    let count: number;
    if (this.#skip > 0) {
      count = Math.min(room, this.#skip);
      this.#skip -= count;
    } else if (this.#filled === 0) count = this.#takeWhole(at, room) || this.#takeRecord(bytes, at, room);
    else count = this.#takeRecord(bytes, at, room);
    if (inPage + count === pageSize) this.#headerFilled = 0;
    return count;
  }

  #takeHeader(bytes: Uint8Array, at: number, count: number): number {
    this.#page.set(bytes.subarray(at, at + count), this.#headerFilled);
    this.#headerFilled += count;
    this.#headerLeft -= count;
    if (this.#headerLeft === 0) this.#header(this.#position + count - this.#headerFilled);
    return count;
  }

  #header(pageStart: number): void {
    const info = this.#page.readUInt16LE(2);
    const address = Number(this.#page.readBigUInt64LE(8));
    const continued = this.#page.readUInt32LE(16);
    const magic = this.#page.readUInt16LE(0);
    if (magic === 0) throw this.#damaged(pageStart, 'the page was never written');
    if (address !== pageStart)
      throw this.#damaged(pageStart, `the page says that it is the one at ${formatLsn(BigInt(address))}`);
    const major = walMajors.get(magic);
    if (major === undefined)
      throw this.#damaged(pageStart, `the page has the magic number 0x${magic.toString(16)}`);
    this.#current.major = major;
    const long = pageStart % this.#segmentSize === 0;
    if (long !== ((info & infoLong) !== 0))
      throw this.#damaged(pageStart, 'the page has a header of the wrong kind');
    const isContinued = (info & infoContinued) !== 0;
    // A record was never finished: the server crashed while writing it, and went on behind it.
    if (info & infoOverwrite) this.#abandon();
    if (this.#searching) {
      this.#searching = false;
      if (isContinued) this.#skip = align(continued);
    } else if (this.#skip > 0) {
      if (!isContinued || align(continued) !== this.#skip)
        throw this.#damaged(pageStart, 'the page does not continue the record before it');
    } else this.#continue(pageStart, { isContinued, continued });
    if (long && this.#filled > 0) {
      this.#sum = this.#sumOf(this.#filled);
      this.#crossed.push(this.#spanningAt(pageStart, this.#sum.crc));
    }
  }

  #continue(
    pageStart: number,
    { isContinued, continued }: { isContinued: boolean; continued: number },
  ): void {
    const isOpen = this.#filled > 0;
    if (isOpen && !isContinued)
      throw this.#damaged(pageStart, 'the page does not continue the record before it');
    if (!isOpen && isContinued)
      throw this.#damaged(pageStart, 'the page continues a record that did not begin');
    const left = this.#length - this.#filled;
    if (isOpen && this.#length > 0 && continued !== left)
      throw this.#damaged(pageStart, `${continued} bytes of the record are said to follow, not ${left}`);
  }

  #abandon(): void {
    this.#skip = 0;
    this.#filled = 0;
    this.#length = 0;
    this.#sum = { filled: recordHeader, crc: crcStart };
    this.#isCarried = false;
    this.#crossed = [];
  }

  /** A record that lies in one piece in what was pushed needs no copy. 0 when this one does not. */
  #takeWhole(at: number, room: number): number {
    const padding = -this.#position & 7;
    const begin = at + padding;
    if (padding + recordHeader > room) return 0;
    const length = this.#input.bytes.readUInt32LE(begin);
    if (length < recordHeader || padding + length > room) return 0;
    this.#recordStart = this.#position + padding;
    const body = crcUpdate(crcStart, this.#input, begin + recordHeader, begin + length);
    if (!this.#fits(body, this.#input, begin)) throw this.#badCrc();
    this.#finish(this.#input, begin, length);
    return padding + length;
  }

  #takeRecord(bytes: Uint8Array, at: number, room: number): number {
    if (this.#filled === 0) {
      // Records begin at multiples of eight.
      const padding = -this.#position & 7;
      if (padding > 0) return Math.min(padding, room);
      this.#recordStart = this.#position;
    }
    const wanted = this.#length > 0 ? this.#length - this.#filled : 4 - this.#filled;
    const count = Math.min(wanted, room);
    this.#append(bytes, at, count);
    if (this.#length === 0 && this.#filled === 4) this.#takeLength();
    else if (this.#length > 0 && this.#filled === this.#length) {
      this.#finishSpanning(this.#position + count);
    }
    return count;
  }

  #finishSpanning(after: number): void {
    const length = this.#length;
    const [isCarried, { crc: body }] = [this.#isCarried, this.#sumOf(length)];
    this.#abandon();
    if (!this.#fits(body, this.#record, 0)) throw this.#badCrc();
    if (isCarried) this.#lastEnd = after + (-after & 7);
    else this.#finish(this.#record, 0, length, after);
  }

  #fits(body: number, where: Memory, offset: number): boolean {
    return crcEnd(crcUpdate(body, where, offset, offset + 20)) === where.bytes.readUInt32LE(offset + 20);
  }

  #badCrc(): HelvinoError {
    return this.#damaged(this.#recordStart, 'the CRC of the record is wrong');
  }

  #append(bytes: Uint8Array, at: number, count: number): void {
    let whole = this.#record.bytes;
    if (this.#filled + count > whole.length) {
      const grown = Buffer.alloc(Math.max(whole.length * 2, this.#filled + count));
      whole.copy(grown, 0, 0, this.#filled);
      this.#record = memory(grown);
      whole = grown;
    }
    whole.set(bytes.subarray(at, at + count), this.#filled);
    this.#filled += count;
  }

  #takeLength(): void {
    const length = this.#record.bytes.readUInt32LE(0);
    if (length < recordHeader || length > longestRecord) {
      throw this.#damaged(this.#recordStart, `the record has the length ${length}`);
    }
    this.#length = length;
  }

  /** Its CRC was checked. */
  #finish(where: Memory, offset: number, length: number, after = this.#recordStart + length): void {
    const { bytes } = where;
    const record = this.#current;
    record.start = this.#recordStart;
    record.after = after + (-after & 7);
    record.xid = bytes.readUInt32LE(offset + 4);
    record.info = bytes[offset + 16]!;
    record.resourceManager = bytes[offset + 17]!;
    record.buffer = bytes;
    record.offset = offset;
    record.length = length;
    this.#lastEnd = record.after;
    if (record.resourceManager === 0 && (record.info & 0xf0) === switchInfo) this.#skipSegment(after);
    this.#onRecord(record);
  }

  /** To the next segment's begin. Page headers on the way are zero and part of what is skipped. */
  #skipSegment(after: number): void {
    const rest = (this.#segmentSize - (after % this.#segmentSize)) % this.#segmentSize;
    this.#lastEnd = after + rest;
    this.#skipUntil = after + rest;
  }

  #damaged(position: number, why: string): HelvinoError {
    const lsn = formatLsn(BigInt(position));
    const lastGood = formatLsn(BigInt(Math.max(this.#lastEnd, this.#begin)));
    return new HelvinoError('PROTOCOL', `the WAL at ${lsn} is damaged: ${why}`, {
      hint: `recovery can go up to ${lastGood}`,
      context: { lsn, lastGood },
    });
  }
}

function memory(bytes: Buffer): Memory {
  return { bytes, words: wordsOf(bytes) };
}

function align(length: number): number {
  return (length + 7) & ~7;
}
