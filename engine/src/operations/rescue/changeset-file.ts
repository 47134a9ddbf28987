/**
 * Files of changes (plans and undos): a header, blocks of rows as COPY text, a SHA-256 over everything. Written whole or
 * not at all, durable when `close` resolves, mode 0600, never over another file. What is read may be anyone's work: nothing is taken at
 * its word that memory, or the way out of an error, hangs on. docs/design/rescue.md has the format.
 */
import { createHash, type Hash } from 'node:crypto';
import { constants as files } from 'node:fs';
import { type FileHandle, link, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { constants, createZstdDecompress, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { HelvinoError, systemCode, targetCode } from '../../base/errors.ts';
import { randomHex } from '../../base/ids.ts';
import { parseOwnJson } from '../../base/own-json.ts';
import { refuseExisting } from '../../base/refuse-existing.ts';
import { syncPath } from '../../base/sync-path.ts';
import { type ChangesetHeader, headerSchema } from './changeset-header.ts';

const magic = Buffer.from('HVRESC01');
const hashBytes = 32;
const maxHeader = 64 * 1024 * 1024;
/** kind (1 rows, 0 end), table's number, bytes raw, bytes stored. */
const blockHead = 13;
/** Of a block: one row may be as large as PostgreSQL lets a COPY line be, a little over 1 GiB. */
const maxBlock = 0x7fff_0000;
/** What is unpacked at once. A block that is larger, of one row, is unpacked in parts. */
const maxAtOnce = 8 * 1024 * 1024;

/** `whole`: whole lines of COPY text; else a part of a block, the first of which begins a line. */
export interface RowBlock {
  readonly table: number;
  readonly lines: Buffer;
  readonly part: 'whole' | 'first' | 'more';
}

export class ChangesetWriter {
  readonly file: string;
  readonly #part: string;
  readonly #handle: FileHandle;
  readonly #hash: Hash = createHash('sha256');
  #bytes = 0;

  private constructor(file: string, part: string, handle: FileHandle) {
    this.file = file;
    this.#part = part;
    this.#handle = handle;
  }

  /** Throws TARGET_NOT_EMPTY when the file exists, TARGET_DENIED, TARGET_TOO_SMALL, TARGET_IO. */
  static async create(file: string, header: ChangesetHeader): Promise<ChangesetWriter> {
    const part = join(dirname(file), `.${basename(file)}.${randomHex(4)}.part`);
    try {
      await refuseExisting(file, 'file');
      const writer = new ChangesetWriter(file, part, await open(part, 'wx', 0o600));
      const text = Buffer.from(JSON.stringify(header));
      const length = Buffer.alloc(4);
      length.writeUInt32LE(text.length);
      await writer.#write(Buffer.concat([magic, length, text]));
      return writer;
    } catch (thrown) {
      throw fileError(file, thrown);
    }
  }

  /** Whole lines of COPY text for the table with this number in the header. */
  async rows(table: number, lines: Buffer): Promise<void> {
    try {
      const stored = zstdCompressSync(lines, { params: { [constants.ZSTD_c_compressionLevel]: 1 } });
      const head = Buffer.alloc(blockHead);
      head.writeUInt8(1, 0);
      head.writeUInt32LE(table, 1);
      head.writeUInt32LE(lines.length, 5);
      head.writeUInt32LE(stored.length, 9);
      await this.#write(head);
      await this.#write(stored);
    } catch (thrown) {
      throw fileError(this.file, thrown);
    }
  }

  /** Durable, with its name, when this resolves. */
  async close(): Promise<{ bytes: number; sha256: string }> {
    try {
      await this.#write(Buffer.alloc(blockHead));
      const digest = this.#hash.digest();
      await this.#handle.writev([digest]);
      await this.#handle.sync();
      await this.#handle.close();
      await giveName(this.#part, this.file);
      await syncPath(dirname(this.file));
      return { bytes: this.#bytes + digest.length, sha256: digest.toString('hex') };
    } catch (thrown) {
      throw fileError(this.file, thrown);
    }
  }

  /** Leaves nothing; never throws. */
  async abandon(): Promise<void> {
    await this.#handle.close().catch(() => undefined);
    await rm(this.#part, { force: true }).catch(() => undefined);
  }

  async #write(bytes: Buffer): Promise<void> {
    this.#hash.update(bytes);
    this.#bytes += bytes.length;
    for (let at = 0; at < bytes.length; ) at += (await this.#handle.write(bytes, at)).bytesWritten;
  }
}

/** A link never replaces a file; where there are none, the name was free a moment ago. */
async function giveName(part: string, file: string): Promise<void> {
  try {
    await link(part, file);
    await rm(part);
  } catch (thrown) {
    if (systemCode(thrown) === 'EEXIST') throw thrown;
    await refuseExisting(file, 'file');
    await rename(part, file);
  }
}

export class ChangesetReader implements AsyncDisposable {
  readonly file: string;
  readonly header: ChangesetHeader;
  readonly bytes: number;
  readonly sha256: string;
  readonly #handle: FileHandle;
  readonly #begin: number;

  private constructor(
    handle: FileHandle,
    facts: { file: string; header: ChangesetHeader; bytes: number; sha256: string; begin: number },
  ) {
    this.#handle = handle;
    this.file = facts.file;
    this.header = facts.header;
    this.bytes = facts.bytes;
    this.sha256 = facts.sha256;
    this.#begin = facts.begin;
  }

  /** Reads the whole file once and compares its SHA-256. Throws PLAN_INVALID, TARGET_IO, TARGET_DENIED. */
  static async open(file: string): Promise<ChangesetReader> {
    let handle: FileHandle;
    try {
      // A pipe would never say that it is none.
      handle = await open(file, files.O_RDONLY | files.O_NONBLOCK);
    } catch (thrown) {
      throw fileError(file, thrown);
    }
    try {
      const facts = await handle.stat();
      if (!facts.isFile()) throw invalid(file, 'it is no file');
      const bytes = facts.size;
      if (bytes < magic.length + 4 + blockHead + hashBytes) throw invalid(file, 'it is too short');
      const start = await readAt(handle, { file, at: 0, length: magic.length + 4 });
      if (!start.subarray(0, magic.length).equals(magic)) throw invalid(file, 'it does not begin as one');
      const sha256 = await checkHash(handle, file, bytes);
      const length = start.readUInt32LE(magic.length);
      const begin = start.length + length;
      if (length > maxHeader || begin + blockHead + hashBytes > bytes)
        throw invalid(file, 'its header is too long');
      const header = parseHeader(await readAt(handle, { file, at: start.length, length }), file);
      return new ChangesetReader(handle, { file, header, bytes, sha256, begin });
    } catch (thrown) {
      await handle.close();
      throw fileError(file, thrown);
    }
  }

  /**
   * In the order of the file. Throws PLAN_INVALID, at the end at the latest: it is hashed again, as someone may have changed it since it
   * was opened.
   */
  async *rows(): AsyncGenerator<RowBlock> {
    const end = this.bytes - hashBytes;
    const hash = createHash('sha256');
    hash.update(await this.#read(0, this.#begin));
    for (let at = this.#begin; ; ) {
      if (at + blockHead > end) throw invalid(this.file, 'it ends early');
      const head = await this.#read(at, blockHead);
      hash.update(head);
      const [kind, table] = [head.readUInt8(0), head.readUInt32LE(1)];
      const [raw, stored] = [head.readUInt32LE(5), head.readUInt32LE(9)];
      at += blockHead;
      if (kind === 0) {
        if (at !== end) throw invalid(this.file, 'something follows its end');
        if (hash.digest('hex') === this.sha256) return;
        throw invalid(this.file, 'it was changed while it was read');
      }
      if (kind !== 1 || table >= this.header.tables.length || raw > maxBlock || stored > end - at)
        throw invalid(this.file, `the block at ${at - blockHead} is none`);
      if (Math.max(raw, stored) <= maxAtOnce) {
        const packed = await this.#read(at, stored);
        hash.update(packed);
        yield { table, lines: inflate(packed, raw, this.file), part: 'whole' };
      } else yield* this.#parts({ table, raw, stored, at }, hash);
      at += stored;
    }
  }

  async *#parts(
    { table, raw, stored, at }: { table: number; raw: number; stored: number; at: number },
    hash: Hash,
  ): AsyncGenerator<RowBlock> {
    const pieces = this.#pieces(at, at + stored, hash);
    const unpacked = Readable.from(pieces).pipe(createZstdDecompress());
    let bytes = 0;
    try {
      for await (const lines of unpacked as AsyncIterable<Buffer>) {
        const part = bytes === 0 ? 'first' : 'more';
        bytes += lines.length;
        if (bytes > raw) throw invalid(this.file, 'a block is not as long as it says');
        yield { table, lines, part };
      }
    } catch (thrown) {
      if (thrown instanceof HelvinoError) throw thrown;
      throw invalid(this.file, 'a block cannot be unpacked', thrown);
    }
    if (bytes !== raw) throw invalid(this.file, 'a block is not as long as it says');
  }

  async *#pieces(begin: number, end: number, hash: Hash): AsyncGenerator<Buffer> {
    for (let at = begin; at < end; at += 1024 * 1024) {
      const piece = await this.#read(at, Math.min(1024 * 1024, end - at));
      hash.update(piece);
      yield piece;
    }
  }

  #read(at: number, length: number): Promise<Buffer> {
    return readAt(this.#handle, { file: this.file, at, length });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}

function inflate(stored: Buffer, raw: number, file: string): Buffer {
  try {
    const lines = zstdDecompressSync(stored, { maxOutputLength: Math.max(1, raw) });
    if (lines.length === raw) return lines;
  } catch (thrown) {
    throw invalid(file, 'a block cannot be unpacked', thrown);
  }
  throw invalid(file, 'a block is not as long as it says');
}

async function checkHash(handle: FileHandle, file: string, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  const end = bytes - hashBytes;
  for (let at = 0; at < end; at += 1024 * 1024)
    hash.update(await readAt(handle, { file, at, length: Math.min(1024 * 1024, end - at) }));
  const digest = hash.digest();
  if (digest.equals(await readAt(handle, { file, at: end, length: hashBytes })))
    return digest.toString('hex');
  throw invalid(file, 'its SHA-256 is wrong');
}

async function readAt(
  handle: FileHandle,
  { file, at, length }: { readonly file: string; readonly at: number; readonly length: number },
): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(buffer, done, length - done, at + done);
    if (bytesRead === 0) throw invalid(file, 'it ends early');
    done += bytesRead;
  }
  return buffer;
}

function parseHeader(text: Buffer, file: string): ChangesetHeader {
  try {
    return headerSchema.parse(parseOwnJson(text));
  } catch (thrown) {
    throw invalid(file, 'its header is none', thrown);
  }
}

function invalid(file: string, why: string, cause?: unknown): HelvinoError {
  return new HelvinoError('PLAN_INVALID', `${file} is no file of helvino rescue, or damaged: ${why}`, {
    cause,
    hint: 'make the plan again; of an undo, look for another copy',
  });
}

function fileError(file: string, thrown: unknown): HelvinoError {
  if (thrown instanceof HelvinoError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const kind = systemCode(thrown) === 'EEXIST' ? 'TARGET_NOT_EMPTY' : targetCode(thrown);
  return new HelvinoError(kind, `${file}: ${message}`, { cause: thrown });
}
