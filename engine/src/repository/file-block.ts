/**
 * A file block: consecutive files of a backup, in order of path, with all their extents. Blocks are chunks of structure
 * packs; a block whose files did not change is the same bytes again and is shared between backups.
 *
 *     uint version (1)
 *     uint packs, each: 16 bytes pack id, 8 bytes key id
 *     uint files, each: text path, uint type (0 file, 1 directory, 2 symlink), uint mode, uint uid, uint gid, uint mtime,
 *       then for a file: uint size, uint chunk size, uint extents, each extent:
 *         uint flags (1 chunk, 2 hash, 4 the same chunk as the extent before, 8 copied from another pack), uint length,
 *         with 1 and without 4: uint pack, uint index, uint offset, uint stored, uint raw, and with 8: uint pack, uint index
 *         of its origin; with 1: uint start;
 *         with 2: 16 bytes hash
 *       for a symlink: text target
 */
import { contentHashLength } from './crypto.ts';
import type { ChunkRef, Extent, FileEntry } from './extents.ts';
import { BinaryReader, BinaryWriter } from './varint.ts';

const version = 1;
const types = ['file', 'directory', 'symlink'] as const;

export function encodeFileBlock(files: readonly FileEntry[]): Buffer {
  const packs = new Map<string, number>();
  const body = new BinaryWriter().uint(files.length);
  for (const file of files) writeFile(body, file, packs);
  const head = new BinaryWriter().uint(version).uint(packs.size);
  for (const key of packs.keys()) head.raw(Buffer.from(key, 'hex'));
  return Buffer.concat([head.take(), body.take()]);
}

function writeFile(out: BinaryWriter, file: FileEntry, packs: Map<string, number>): void {
  out
    .text(file.path)
    .uint(types.indexOf(file.type))
    .uint(file.mode)
    .uint(file.uid)
    .uint(file.gid)
    .uint(file.mtime);
  if (file.type === 'symlink') out.text(file.target ?? '');
  if (file.type !== 'file') return;
  out.uint(file.size).uint(file.chunkSize).uint(file.extents.length);
  let before: ChunkRef | undefined;
  for (const extent of file.extents) {
    const { chunk, hash } = extent;
    const same = chunk !== undefined && before !== undefined && sameChunk(chunk, before);
    out.uint((chunk ? 1 : 0) | (hash ? 2 : 0) | (same ? 4 : chunk?.origin ? 8 : 0)).uint(extent.length);
    if (chunk) {
      if (!same) writeChunkRef(out, chunk, packs);
      out.uint(extent.start);
      before = chunk;
    }
    if (hash) out.raw(hash);
  }
}

function writeChunkRef(out: BinaryWriter, chunk: ChunkRef, packs: Map<string, number>): void {
  const { pack, keyId, origin } = chunk;
  out
    .uint(packNumber(packs, pack + keyId))
    .uint(chunk.index)
    .uint(chunk.offset)
    .uint(chunk.stored)
    .uint(chunk.raw);
  if (origin) out.uint(packNumber(packs, origin.pack + keyId)).uint(origin.index);
}

function packNumber(packs: Map<string, number>, key: string): number {
  let number = packs.get(key);
  if (number === undefined) {
    number = packs.size;
    packs.set(key, number);
  }
  return number;
}

function sameChunk(a: ChunkRef, b: ChunkRef): boolean {
  return a === b || (a.pack === b.pack && a.index === b.index);
}

/** `what` names the block in errors. Throws REPOSITORY_DAMAGED. */
export function* decodeFileBlock(bytes: Uint8Array, what: string): Generator<FileEntry> {
  const reader = new BinaryReader(bytes, what);
  const found = reader.uint();
  if (found !== version) throw reader.damaged(`has version ${found}, not ${version}`);
  const packs: { pack: string; keyId: string }[] = [];
  for (let count = reader.count(24); count > 0; count--) {
    packs.push({ pack: reader.raw(16).toString('hex'), keyId: reader.raw(8).toString('hex') });
  }
  for (let count = reader.count(7); count > 0; count--) yield readFile(reader, packs);
  reader.end();
}

function readFile(reader: BinaryReader, packs: { pack: string; keyId: string }[]): FileEntry {
  const path = reader.text();
  if (!isSafePath(path)) throw reader.damaged(`names the path ${JSON.stringify(path)}`);
  const type = types[reader.uint()];
  if (type === undefined) throw reader.damaged('has an unknown file type');
  const entry = {
    path,
    type,
    mode: reader.uint(),
    uid: reader.uint(),
    gid: reader.uint(),
    mtime: reader.uint(),
  };
  if (type === 'symlink') return { ...entry, size: 0, chunkSize: 0, target: reader.text(), extents: [] };
  if (type === 'directory') return { ...entry, size: 0, chunkSize: 0, extents: [] };
  const size = reader.uint();
  const chunkSize = reader.uint();
  const extents: Extent[] = [];
  let before: ChunkRef | undefined;
  let sum = 0;
  for (let count = reader.count(2); count > 0; count--) {
    const extent = readExtent(reader, packs, before);
    before = extent.chunk ?? before;
    sum += extent.length;
    extents.push(extent);
  }
  if (sum !== size) throw reader.damaged(`describes ${sum} of the ${size} bytes of ${path}`);
  return { ...entry, size, chunkSize, extents };
}

function readExtent(
  reader: BinaryReader,
  packs: { pack: string; keyId: string }[],
  before?: ChunkRef,
): Extent {
  const flags = reader.uint();
  const length = reader.uint();
  let chunk: ChunkRef | undefined;
  let start = 0;
  if (flags & 1) {
    chunk = flags & 4 ? before : readChunkRef(reader, packs, (flags & 8) !== 0);
    if (chunk === undefined) throw reader.damaged('refers to a chunk before the first');
    start = reader.uint();
    if (start + length > chunk.raw) throw reader.damaged('refers to bytes past the end of a chunk');
  }
  const hash = flags & 2 ? Buffer.from(reader.raw(contentHashLength)) : undefined;
  return { length, chunk, start, hash };
}

function readChunkRef(
  reader: BinaryReader,
  packs: { pack: string; keyId: string }[],
  copied: boolean,
): ChunkRef {
  const place = listed(reader, packs);
  const [index, offset, stored, raw] = [reader.uint(), reader.uint(), reader.uint(), reader.uint()];
  const origin = copied ? { pack: listed(reader, packs).pack, index: reader.uint() } : undefined;
  return { pack: place.pack, keyId: place.keyId, index, offset, stored, raw, origin };
}

function listed(
  reader: BinaryReader,
  packs: { pack: string; keyId: string }[],
): { pack: string; keyId: string } {
  const place = packs[reader.uint()];
  if (place === undefined) throw reader.damaged('refers to a pack that it does not list');
  return place;
}

/** Relative, and stays below the directory that it is relative to. */
function isSafePath(path: string): boolean {
  return (
    path !== '' &&
    !path.includes('\0') &&
    path.split('/').every((part) => part !== '' && part !== '.' && part !== '..')
  );
}
