/**
 * Builds one pack in a buffer: compresses, encrypts and appends chunks. Synchronous, so that worker threads spend their
 * time in native code; the main thread uses it for the few structure chunks.
 */
import { copyBytes, directAlignment } from '../base/aligned-memory.ts';
import type { ContentHasher } from './crypto.ts';
import { deriveKey, sealInto } from './crypto.ts';
import {
  chunkPlace,
  compress,
  encodeDirectory,
  encodeHeader,
  headerLength,
  type PackChunk,
  type PackIdentity,
} from './pack-format.ts';

/** Packs are closed when they have reached this many bytes. */
export const packTarget = 16 << 20;
/** The largest chunk, in plain bytes. */
export const maxChunk = 1 << 20;
/**
 * A buffer of this size takes any pack: the last chunk may begin just below the target, and may not compress. A whole number
 * of pages, so that buffers one after the other all begin at one.
 */
export const packCapacity = packTarget + maxChunk + directAlignment;

export interface PlacedChunk {
  readonly index: number;
  readonly offset: number;
  readonly stored: number;
  readonly raw: number;
}

export class PackBuilder {
  readonly identity: PackIdentity;
  readonly #buffer: Uint8Array;
  readonly #header: Buffer;
  readonly #key: Buffer;
  readonly #catalogKey: Uint8Array;
  readonly #hasher: ContentHasher;
  readonly #level: number;
  readonly #chunks: PackChunk[] = [];
  #length = headerLength;

  /** `key` is the key that `identity.keyId` names; `buffer` has at least `packCapacity` bytes. */
  constructor(options: {
    buffer: Uint8Array;
    identity: PackIdentity;
    key: Uint8Array;
    catalogKey: Uint8Array;
    hasher: ContentHasher;
    level: number;
  }) {
    this.identity = options.identity;
    this.#buffer = options.buffer;
    this.#catalogKey = options.catalogKey;
    this.#hasher = options.hasher;
    this.#level = options.level;
    this.#header = encodeHeader(options.identity);
    this.#key = deriveKey(options.key, this.#header.subarray(8, 24), 'chunk');
    this.#buffer.set(this.#header);
  }

  get full(): boolean {
    return this.#length >= packTarget;
  }

  get chunkCount(): number {
    return this.#chunks.length;
  }

  /** `plain`: at most `maxChunk` bytes, the concatenation of the segments. */
  add(plain: Uint8Array, segments: PackChunk['segments']): PlacedChunk {
    const index = this.#chunks.length;
    const packed = compress(plain, this.#level);
    const codec = packed.length < plain.length ? 1 : 0;
    const offset = this.#length;
    const place = { key: this.#key, aad: chunkPlace(this.#header.subarray(8, 24), index), number: index };
    const stored = sealInto(place, codec === 1 ? packed : plain, this.#buffer, offset);
    this.#length += stored;
    const storedHash = this.#hasher.hash(this.#buffer.subarray(offset, offset + stored));
    this.#chunks.push({ stored, raw: plain.length, codec, storedHash, segments });
    return { index, offset, stored, raw: plain.length };
  }

  /** Takes a chunk of another pack as it is: it stays sealed to the place where it was made. */
  addCopy(sealed: Uint8Array, chunk: PackChunk & { origin: NonNullable<PackChunk['origin']> }): PlacedChunk {
    const index = this.#chunks.length;
    const offset = this.#length;
    copyBytes(sealed, this.#buffer, offset);
    this.#length += sealed.length;
    this.#chunks.push(chunk);
    return { index, offset, stored: chunk.stored, raw: chunk.raw };
  }

  /** The pieces of the whole object; the first is a view of the buffer that was given. */
  finish(): [Uint8Array, Buffer] {
    return [
      this.#buffer.subarray(0, this.#length),
      encodeDirectory(this.#header, this.#chunks, this.#catalogKey),
    ];
  }
}
