/**
 * Reads WAL records from a byte stream: pages, records that span pages and segments, CRC-32C of each. Synchronous and
 * incremental; no input or output. Formats: src/include/access/xlog_internal.h (pages) and xlogrecord.h (records);
 * https://www.postgresql.org/docs/current/wal-internals.html
 */
import { HelvinoError } from '../../base/errors.ts';
import { formatLsn } from '../lsn.ts';
import { crcEnd, crcStart, crcUpdate } from './crc32c.ts';

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

export interface WalRecord {
  /** Where it begins. */
  readonly lsn: bigint;
  /** The position after it, rounded up to where the next one can begin. */
  readonly end: bigint;
  readonly xid: number;
  readonly resourceManager: number;
  /** The resource manager's bits and the general ones. */
  readonly info: number;
  /** The whole record, header included; valid during the call only. */
  readonly bytes: Uint8Array;
}

export interface WalReaderOptions {
  /** Of the first byte that will be pushed: a page's begin. Records that began before it are skipped. */
  readonly start: bigint;
  /** Bytes. */
  readonly segmentSize: number;
  readonly onRecord: (record: WalRecord) => void;
}

export class WalReader {
  readonly #options: WalReaderOptions;
  readonly #page = Buffer.alloc(longHeader);
  #position: bigint;
  /** Bytes of the header of the page at hand that are still to come. */
  #headerLeft = 0;
  #headerFilled = 0;
  /** Bytes of a record from before the start, or padding, that are still to be skipped. */
  #skip = 0;
  #searching = true;
  #record = Buffer.alloc(64 << 10);
  #filled = 0;
  /** Length of the record at hand; 0: not known yet. */
  #length = 0;
  #recordStart = 0n;
  #ended = false;
  #skipUntil = 0n;

  constructor(options: WalReaderOptions) {
    if (options.start % BigInt(pageSize) !== 0n)
      throw new HelvinoError('INTERNAL', `WAL is read from a page's begin, not ${formatLsn(options.start)}`);
    this.#options = options;
    this.#position = options.start;
  }

  /** The end of the last whole record. */
  lastEnd = 0n;

  /** True when the WAL has ended: zeroes, or a page of another time, where a record should begin. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Throws PROTOCOL for damage: a wrong CRC, an impossible header. What follows the end of WAL is not damage. */
  push(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length && !this.#ended) {
      const count =
        this.#position < this.#skipUntil ? this.#skipOver(bytes.length - at) : this.#step(bytes, at);
      at += count;
      this.#position += BigInt(count);
    }
  }

  /** The rest of a segment after a switch, page headers included. */
  #skipOver(have: number): number {
    this.#headerFilled = 0;
    this.#headerLeft = 0;
    return Math.min(have, Number(this.#skipUntil - this.#position));
  }

  #step(bytes: Uint8Array, at: number): number {
    const have = bytes.length - at;
    const inPage = Number(this.#position % BigInt(pageSize));
    if (inPage === 0 && this.#headerLeft === 0 && this.#headerFilled === 0)
      this.#headerLeft = this.#firstOfSegment() ? longHeader : shortHeader;
    if (this.#headerLeft > 0) return this.#takeHeader(bytes, at, Math.min(have, this.#headerLeft));
    const room = Math.min(have, pageSize - inPage);
    if (this.#skip > 0) {
      const count = Math.min(room, this.#skip);
      this.#skip -= count;
      this.#pageDone(inPage + count);
      return count;
    }
    const count = this.#takeRecord(bytes, at, room);
    this.#pageDone(inPage + count);
    return count;
  }

  #pageDone(reached: number): void {
    if (reached === pageSize) this.#headerFilled = 0;
  }

  #firstOfSegment(): boolean {
    return this.#position % BigInt(this.#options.segmentSize) === 0n;
  }

  #takeHeader(bytes: Uint8Array, at: number, count: number): number {
    this.#page.set(bytes.subarray(at, at + count), this.#headerFilled);
    this.#headerFilled += count;
    this.#headerLeft -= count;
    if (this.#headerLeft === 0) this.#header(this.#position + BigInt(count) - BigInt(this.#headerFilled));
    return count;
  }

  #header(pageStart: bigint): void {
    const info = this.#page.readUInt16LE(2);
    const address = this.#page.readBigUInt64LE(8);
    const continued = this.#page.readUInt32LE(16);
    const magic = this.#page.readUInt16LE(0);
    if (magic === 0 || address !== pageStart) {
      // A page that was never written, or is left from a segment's earlier use.
      this.#ended = true;
      return;
    }
    if ((magic & 0xff00) !== 0xd100)
      throw this.#damaged(pageStart, `the page has the magic number 0x${magic.toString(16)}`);
    const long = pageStart % BigInt(this.#options.segmentSize) === 0n;
    if (long !== ((info & infoLong) !== 0))
      throw this.#damaged(pageStart, 'the page has a header of the wrong kind');
    if (info & infoOverwrite) this.#abandon();
    if (this.#skip > 0) return;
    if (this.#searching) {
      this.#searching = false;
      if (info & infoContinued) this.#skip = align(continued);
      return;
    }
    const open = this.#filled > 0;
    if (open !== ((info & infoContinued) !== 0)) {
      if (open) {
        // The record was never finished: the server crashed while writing it, and went on behind it.
        this.#abandon();
        return;
      }
      throw this.#damaged(pageStart, 'the page continues a record that did not begin');
    }
    if (open && this.#length > 0 && continued !== this.#length - this.#filled) this.#ended = true;
  }

  #abandon(): void {
    this.#filled = 0;
    this.#length = 0;
  }

  #takeRecord(bytes: Uint8Array, at: number, room: number): number {
    if (this.#filled === 0) {
      // Records begin at multiples of eight.
      const padding = Number(-this.#position & 7n);
      if (padding > 0) return Math.min(padding, room);
      this.#recordStart = this.#position;
    }
    const wanted = this.#length > 0 ? this.#length - this.#filled : 4 - this.#filled;
    const count = Math.min(wanted, room);
    this.#append(bytes, at, count);
    if (this.#length === 0 && this.#filled === 4) this.#begin();
    else if (this.#length > 0 && this.#filled === this.#length) this.#finish(this.#position + BigInt(count));
    return count;
  }

  #append(bytes: Uint8Array, at: number, count: number): void {
    if (this.#filled + count > this.#record.length) {
      const grown = Buffer.alloc(Math.max(this.#record.length * 2, this.#filled + count));
      this.#record.copy(grown, 0, 0, this.#filled);
      this.#record = grown;
    }
    this.#record.set(bytes.subarray(at, at + count), this.#filled);
    this.#filled += count;
  }

  #begin(): void {
    const length = this.#record.readUInt32LE(0);
    if (length === 0) {
      this.#ended = true;
      return;
    }
    if (length < recordHeader || length > longestRecord) {
      throw this.#damaged(this.#recordStart, `the record has the length ${length}`);
    }
    this.#length = length;
  }

  #finish(after: bigint): void {
    const bytes = this.#record.subarray(0, this.#length);
    if (this.#crc(bytes) !== bytes.readUInt32LE(20))
      throw this.#damaged(this.#recordStart, 'the CRC of the record is wrong');
    const info = bytes.readUInt8(16);
    const resourceManager = bytes.readUInt8(17);
    const end = after + (-after & 7n);
    const record = { lsn: this.#recordStart, end, xid: bytes.readUInt32LE(4), resourceManager, info, bytes };
    this.#filled = 0;
    this.#length = 0;
    this.lastEnd = end;
    if (resourceManager === 0 && (info & 0xf0) === switchInfo) this.#skipSegment(after);
    this.#options.onRecord(record);
  }

  /** To the next segment's begin. Page headers on the way are zero and part of what is skipped. */
  #skipSegment(after: bigint): void {
    const size = BigInt(this.#options.segmentSize);
    const rest = (size - (after % size)) % size;
    this.lastEnd = after + rest;
    this.#skipUntil = after + rest;
  }

  #crc(bytes: Buffer): number {
    const body = crcUpdate(crcStart, bytes, recordHeader, bytes.length);
    return crcEnd(crcUpdate(body, bytes, 0, 20));
  }

  #damaged(lsn: bigint, why: string): HelvinoError {
    return new HelvinoError('PROTOCOL', `the WAL at ${formatLsn(lsn)} is damaged: ${why}`, {
      hint: `recovery can go up to ${formatLsn(this.lastEnd)}`,
      context: { lsn: formatLsn(lsn), lastGood: formatLsn(this.lastEnd) },
    });
  }
}

function align(length: number): number {
  return (length + 7) & ~7;
}
