/**
 * A pack: one object that holds chunks. It can be read without any index: the trailer leads to the directory.
 *
 *     header    8 bytes "HVPACK1\n", 16 bytes pack id, 8 bytes key id (of the chunks), 8 bytes catalog key id,
 *               4 bytes kind (0 data, 1 structure), 4 bytes zero
 *     chunks    one after the other: AES-256-GCM text and its 16-byte tag
 *     directory AES-256-GCM text and tag of the zstd-compressed chunk list
 *     trailer   4 bytes length of the directory (big-endian), 8 bytes "HVPKEND\n"
 *
 * Chunk i is encrypted under deriveKey(key, pack id, "chunk") with i as nonce and pack id ‖ i as associated data: a chunk
 * moved to any other place does not open. It is compressed if and only if stored - 16 differs from raw. The directory is
 * encrypted under deriveKey(catalog key, pack id, "directory") with the header as associated data.
 *
 *     directory: uint version (1), uint chunks, each: uint stored, uint raw, uint flags (1 zstd, 2 copied), with 2: 16 bytes
 *       pack id, 8 bytes key id, uint number that it was sealed under; 16 bytes content hash of the stored bytes, uint
 *       segments, each: uint length, 16 bytes content hash of the segment
 */
import { zstdDecompressSync } from 'node:zlib';
import { HelvinoError } from '../base/errors.ts';
import { contentHashLength, deriveKey, seal, tagLength, unseal } from './crypto.ts';
import { freeBytes } from './free-bytes.ts';
import { packName } from './layout.ts';
import { BinaryReader, BinaryWriter } from './varint.ts';
import { Compressor } from './zstd.ts';
import { plainLengthOf } from './zstd-frame.ts';

const magic = Buffer.from('HVPACK1\n');
const endMagic = Buffer.from('HVPKEND\n');
export const headerLength = 48;
export const trailerLength = 12;
const maxDirectory = 64 << 20;
/** Larger than any chunk. */
const manyBytes = 2 << 20;
/**
 * What is freed of more than 32 MiB the C library gives back to the system, and of less it keeps twice the largest for later
 * (https://man7.org/linux/man-pages/man3/mallopt.3.html). Memory that nobody writes to is not taken.
 */
const givenBack = 33 << 20;
/** Bytes that may be set aside for what does not say how long it is. */
const largestAtOnce = 32 << 20;

export interface PackIdentity {
  /** 32 hexadecimal digits. */
  readonly id: string;
  readonly keyId: string;
  readonly catalogKeyId: string;
  readonly kind: 'data' | 'structure';
}

export interface PackChunk {
  readonly stored: number;
  readonly raw: number;
  readonly codec: number;
  /** Content hash of the stored bytes: lets the host, which has no data key, check every byte. */
  readonly storedHash: Uint8Array;
  readonly segments: readonly { readonly length: number; readonly hash: Uint8Array }[];
  /** Of a chunk that was copied here: where it was sealed, and under which key. */
  readonly origin?: { readonly pack: string; readonly keyId: string; readonly index: number };
}

export function encodeHeader(pack: PackIdentity): Buffer {
  const header = Buffer.alloc(headerLength);
  magic.copy(header, 0);
  header.write(pack.id, 8, 'hex');
  header.write(pack.keyId, 24, 'hex');
  header.write(pack.catalogKeyId, 32, 'hex');
  header.writeUInt32BE(pack.kind === 'data' ? 0 : 1, 40);
  return header;
}

export function decodeHeader(bytes: Uint8Array, expectedId: string): PackIdentity {
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const id = header.toString('hex', 8, 24);
  const kind = header.length >= headerLength ? header.readUInt32BE(40) : 2;
  if (header.length < headerLength || !header.subarray(0, 8).equals(magic) || id !== expectedId || kind > 1) {
    throw damagedPack(expectedId, 'its header is not that of this pack');
  }
  return {
    id,
    keyId: header.toString('hex', 24, 32),
    catalogKeyId: header.toString('hex', 32, 40),
    kind: kind === 0 ? 'data' : 'structure',
  };
}

/** Associated data of chunk `index`. */
export function chunkPlace(packId: Uint8Array, index: number): Buffer {
  const place = Buffer.allocUnsafe(20);
  place.set(packId);
  place.writeUInt32BE(index, 16);
  return place;
}

/** The plain bytes of a chunk. Throws REPOSITORY_DAMAGED. `key` is deriveKey(data key, pack id, "chunk"). */
export function openChunk(
  key: Uint8Array,
  chunk: { pack: string; index: number; raw: number },
  sealed: Uint8Array,
): Uint8Array {
  const packed = unseal(key, sealed, chunkPlace(Buffer.from(chunk.pack, 'hex'), chunk.index), chunk.index);
  if (packed === undefined) throw damagedPack(chunk.pack, `chunk ${chunk.index} was changed`);
  const codec = packed.length === chunk.raw ? 0 : 1;
  const plain = decompress(packed, codec, chunk.raw, packName(chunk.pack));
  if (plain !== packed) freeBytes(packed);
  if (plain.length !== chunk.raw) {
    throw damagedPack(chunk.pack, `chunk ${chunk.index} has ${plain.length} bytes, not ${chunk.raw}`);
  }
  return plain;
}

/** Directory and trailer, to be appended to the chunks. */
export function encodeDirectory(
  header: Uint8Array,
  chunks: readonly PackChunk[],
  catalogKey: Uint8Array,
): Buffer {
  const out = new BinaryWriter().uint(1).uint(chunks.length);
  for (const chunk of chunks) {
    const { origin } = chunk;
    out
      .uint(chunk.stored)
      .uint(chunk.raw)
      .uint(chunk.codec | (origin ? 2 : 0));
    if (origin) out.raw(Buffer.from(origin.pack + origin.keyId, 'hex')).uint(origin.index);
    out.raw(chunk.storedHash).uint(chunk.segments.length);
    for (const segment of chunk.segments) out.uint(segment.length).raw(segment.hash);
  }
  const plain = compress(out.take(), 3);
  const sealed = seal(deriveKey(catalogKey, header.subarray(8, 24), 'directory'), plain, header);
  const trailer = Buffer.alloc(4);
  trailer.writeUInt32BE(sealed.length);
  return Buffer.concat([sealed, trailer, endMagic]);
}

/** How many bytes the directory takes, from the last `trailerLength` bytes of a pack of `size` bytes. */
export function directoryLength(trailer: Uint8Array, size: number, packId: string): number {
  const view = Buffer.from(trailer.buffer, trailer.byteOffset, trailer.byteLength);
  const room = size - headerLength - trailerLength;
  const length = view.length === trailerLength ? view.readUInt32BE(0) : 0;
  if (
    view.length !== trailerLength ||
    !view.subarray(4).equals(endMagic) ||
    length < tagLength ||
    length > room
  ) {
    throw damagedPack(packId, 'its end is not that of a pack');
  }
  return length;
}

/** `sealed`: the directory without the trailer. Throws REPOSITORY_DAMAGED. */
export function decodeDirectory(
  header: Uint8Array,
  sealed: Uint8Array,
  catalogKey: Uint8Array,
  packId: string,
): PackChunk[] {
  const plain = unseal(
    deriveKey(catalogKey, header.subarray(8, 24), 'directory'),
    sealed,
    header.subarray(0, headerLength),
  );
  if (plain === undefined) throw damagedPack(packId, 'its directory was changed');
  const reader = new BinaryReader(
    decompress(plain, 1, maxDirectory, packName(packId)),
    `the directory of ${packName(packId)}`,
  );
  const version = reader.uint();
  if (version !== 1) throw reader.damaged(`has version ${version}, not 1`);
  const chunks: PackChunk[] = [];
  for (let count = reader.count(4 + contentHashLength); count > 0; count--) {
    const [stored, raw, flags] = [reader.uint(), reader.uint(), reader.uint()];
    const origin = flags & 2 ? readOrigin(reader) : undefined;
    const storedHash = Buffer.from(reader.raw(contentHashLength));
    const segments: { length: number; hash: Uint8Array }[] = [];
    for (let n = reader.count(1 + contentHashLength); n > 0; n--) {
      segments.push({ length: reader.uint(), hash: Buffer.from(reader.raw(contentHashLength)) });
    }
    chunks.push({ stored, raw, codec: flags & 1, storedHash, segments, origin });
  }
  reader.end();
  return chunks;
}

function readOrigin(reader: BinaryReader): NonNullable<PackChunk['origin']> {
  const pack = reader.raw(16).toString('hex');
  return { pack, keyId: reader.raw(8).toString('hex'), index: reader.uint() };
}

export function damagedPack(packId: string, why: string): HelvinoError {
  return new HelvinoError('REPOSITORY_DAMAGED', `${packName(packId)} is damaged: ${why}`, {
    hint: 'run `helvino verify` to see which backups are touched; restore from another backup or copy',
    context: { object: packName(packId) },
  });
}

/** What larger inputs would leave behind is not worth keeping. */
const largestKept = 17 << 20;
const compressors = new Map<number, Compressor>();

/** zstd at `level`. The result is valid until the next call in this thread. */
export function compress(plain: Uint8Array, level: number): Buffer {
  if (plain.length > largestKept) return new Compressor(level).compress(plain);
  if (!compressors.has(level)) compressors.set(level, new Compressor(level));
  return compressors.get(level)!.compress(plain);
}

/** For one output buffer of the right size, and a byte more by which its end is seen. */
function roomFor(bytes: Uint8Array, limit: number): number | undefined {
  const length = plainLengthOf(bytes) ?? (limit <= largestAtOnce ? limit : undefined);
  if (length === undefined) return undefined;
  const room = Math.min(limit, length) + 64;
  return room < manyBytes ? room : Math.max(room, givenBack);
}

/** The reverse of what `codec` says, never more than `limit` bytes. */
export function decompress(bytes: Uint8Array, codec: number, limit: number, what: string): Uint8Array {
  if (codec === 0) return bytes;
  try {
    if (codec === 1)
      return zstdDecompressSync(bytes, {
        maxOutputLength: Math.max(1, limit),
        chunkSize: roomFor(bytes, limit),
      });
  } catch (cause) {
    throw new HelvinoError('REPOSITORY_DAMAGED', `${what} does not decompress`, {
      cause,
      context: { object: what },
    });
  }
  throw new HelvinoError(
    'REPOSITORY_TOO_NEW',
    `${what} uses the compression ${codec}, which this version does not know`,
    {
      hint: 'use a newer Helvino',
      context: { object: what },
    },
  );
}
