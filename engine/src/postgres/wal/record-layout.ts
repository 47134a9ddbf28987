/**
 * What a WAL record is made of: block references (relation, block, page image, data) and main data. One object is used for
 * all records. Format: src/include/access/xlogrecord.h.
 */
import { HelvinoError } from '../../base/errors.ts';
import { formatLsn } from '../lsn.ts';
import type { WalRecord } from './wal-reader.ts';

const recordHeader = 24;
const pageSize = 8192;
const mostBlocks = 33;
/** fork_flags of a block reference. */
const hasImage = 0x10;
const sameRelation = 0x80;
/** Ids that are no block's. */
const shortData = 255;
const longData = 254;
const origin = 253;
const topLevelXid = 252;
/** bimg_info. */
const hasHole = 0x01;

export interface BlockReference {
  /** Tablespace, database and file number: src/include/storage/relfilelocator.h. */
  tablespace: number;
  database: number;
  file: number;
  /** 0: the main fork. */
  fork: number;
  block: number;
  /** In the record's buffer. */
  dataOffset: number;
  dataLength: number;
  imageOffset: number;
  /** 0: no page image. */
  imageLength: number;
  holeOffset: number;
  holeLength: number;
  /** How the page image is compressed. */
  method: 'none' | 'pglz' | 'lz4' | 'zstd';
}

export class RecordLayout {
  readonly blocks: readonly BlockReference[] = Array.from({ length: mostBlocks }, emptyBlock);
  blockCount = 0;
  mainOffset = 0;
  mainLength = 0;

  /** Throws PROTOCOL when the record is not laid out as it should be. */
  read(record: WalRecord): void {
    const { buffer, offset, length } = record;
    const end = offset + length;
    let at = offset + recordHeader;
    let payload = 0;
    this.blockCount = 0;
    this.mainLength = 0;
    while (end - at > payload) {
      const id = buffer[at]!;
      if (id === shortData) {
        this.mainLength = buffer[at + 1]!;
        payload += this.mainLength;
        at += 2;
      } else if (id === longData) {
        this.mainLength = buffer.readUInt32LE(at + 1);
        payload += this.mainLength;
        at += 5;
      } else if (id === origin) at += 3;
      else if (id === topLevelXid) at += 5;
      else {
        if (id >= mostBlocks || this.blockCount === mostBlocks || end - at < 8)
          throw unexpectedRecord(record);
        at = this.#block(record, at);
        const block = this.blocks[this.blockCount++]!;
        payload += block.dataLength + block.imageLength;
      }
    }
    if (end - at !== payload) throw unexpectedRecord(record);
    this.#place(at);
  }

  /** Page images and block data follow the headers in the order of the blocks; main data is last. */
  #place(begin: number): void {
    let at = begin;
    for (let i = 0; i < this.blockCount; i++) {
      const block = this.blocks[i]!;
      block.imageOffset = at;
      at += block.imageLength;
      block.dataOffset = at;
      at += block.dataLength;
    }
    this.mainOffset = at;
  }

  #block({ buffer, major }: WalRecord, begin: number): number {
    const block = this.blocks[this.blockCount]!;
    const flags = buffer[begin + 1]!;
    let at = begin + 4;
    block.fork = flags & 0x0f;
    block.dataLength = buffer.readUInt16LE(begin + 2);
    block.imageLength = 0;
    if (flags & hasImage) {
      const info = buffer[at + 4]!;
      block.imageLength = buffer.readUInt16LE(at);
      block.holeOffset = buffer.readUInt16LE(at + 2);
      block.method = methodOf(info, major);
      block.holeLength = 0;
      at += 5;
      if (info & hasHole) {
        block.holeLength = block.method !== 'none' ? buffer.readUInt16LE(at) : pageSize - block.imageLength;
        if (block.method !== 'none') at += 2;
      }
    }
    if (flags & sameRelation) {
      const before = this.blocks[Math.max(0, this.blockCount - 1)]!;
      block.tablespace = before.tablespace;
      block.database = before.database;
      block.file = before.file;
    } else {
      block.tablespace = buffer.readUInt32LE(at);
      block.database = buffer.readUInt32LE(at + 4);
      block.file = buffer.readUInt32LE(at + 8);
      at += 12;
    }
    block.block = buffer.readUInt32LE(at);
    return at + 4;
  }

  /** A view. */
  mainData({ buffer }: WalRecord): Buffer {
    return buffer.subarray(this.mainOffset, this.mainOffset + this.mainLength);
  }
}

/** Version 14 has one bit for "compressed", later ones one for each method. */
function methodOf(info: number, major: number): BlockReference['method'] {
  if (major < 15) return info & 0x02 ? 'pglz' : 'none';
  if (info & 0x04) return 'pglz';
  if (info & 0x08) return 'lz4';
  return info & 0x10 ? 'zstd' : 'none';
}

function emptyBlock(): BlockReference {
  return {
    tablespace: 0,
    database: 0,
    file: 0,
    fork: 0,
    block: 0,
    dataOffset: 0,
    dataLength: 0,
    imageOffset: 0,
    imageLength: 0,
    holeOffset: 0,
    holeLength: 0,
    method: 'none',
  };
}

export function unexpectedRecord(record: WalRecord): HelvinoError {
  return new HelvinoError(
    'PROTOCOL',
    `the WAL record at ${formatLsn(record.lsn)} is not laid out as expected`,
    {
      context: { lsn: formatLsn(record.lsn), resourceManager: record.resourceManager, info: record.info },
    },
  );
}
