/**
 * The log store: an endless byte sequence per line (PostgreSQL: WAL per timeline), stored as pieces that never change.
 *
 *     wal/<database>/<line>/<begin>-<end>    bytes [begin, end) of the line; line 8, positions 16 hexadecimal digits
 *     wal/<database>/history/<name>          small files that tell where lines come from
 *     wal/<database>/cluster/<name>          a small file that tells whose log this is
 *     wal/<database>/labels/<name>           small files that tell where backups began and ended
 *     wal/<database>/gaps/<name>             small files that tell why a part is missing
 *
 * Names alone say what is there, so that continuity is known from a listing. A long piece makes the short ones inside it
 * superfluous. A piece:
 *
 *     start    8 bytes "HVWALS2\n", 8 bytes data key id, 8 bytes catalog key id, 16 bytes random salt
 *     head     AES-256-GCM text and tag of two content hashes, of the plain bytes and of the body, under
 *              deriveKey(catalog key, salt, "wal head"): a host without the data key can check a piece, and tell whether
 *              bytes that it is given are those that are stored
 *     body     AES-256-GCM text and tag of the zstd-compressed bytes under deriveKey(data key, salt, "wal")
 *
 * Associated data of both is the start and the object's name.
 */
import { HelvinoError } from '../base/errors.ts';
import type { StorageDriver } from '../storage/index.ts';
import { contentHashLength, deriveKey, newSalt, sealInto, tagLength, unseal } from './crypto.ts';
import { catalogKeyOf, damagedObject, openEnvelope, sealEnvelope } from './envelope.ts';
import { type CatalogRing, contentHasherOf } from './keys.ts';
import { compress } from './pack-format.ts';
import { readBack } from './read-back.ts';
import type { Repository } from './repository.ts';
import { giveBack, takeMemory } from './sealing-memory.ts';
import { longestCompressed } from './zstd.ts';

const magic = Buffer.from('HVWALS2\n');
const startLength = 40;
const headLength = 2 * contentHashLength + tagLength;
const largestPiece = 1 << 30;
export const logPrefix = 'wal/';

export interface LogPiece {
  readonly name: string;
  readonly line: number;
  readonly begin: bigint;
  readonly end: bigint;
  /** Bytes stored. */
  readonly size: number;
  /** By the store's clock. */
  readonly stored: Date;
}

interface PieceKeys {
  readonly ring: CatalogRing;
  readonly dataKey: Uint8Array;
  readonly dataKeyId: string;
  /** A part, which the whole piece will replace: no object lock. */
  readonly passing?: boolean;
}

export function logPieceName(database: string, piece: { line: number; begin: bigint; end: bigint }): string {
  const hex = (value: bigint | number, digits: number) =>
    value.toString(16).toUpperCase().padStart(digits, '0');
  return `${logPrefix}${database}/${hex(piece.line, 8)}/${hex(piece.begin, 16)}-${hex(piece.end, 16)}`;
}

function parsePieceName(name: string): { line: number; begin: bigint; end: bigint } | undefined {
  const match = /\/([0-9A-F]{8})\/([0-9A-F]{16})-([0-9A-F]{16})$/.exec(name);
  if (!match) return undefined;
  const [, line, begin, end] = match;
  const place = { line: Number.parseInt(line!, 16), begin: BigInt(`0x${begin}`), end: BigInt(`0x${end}`) };
  return isPlace(place) ? place : undefined;
}

/** No piece is longer than a segment of the log can be: a name that says so is none of ours. */
export function isPlace({ begin, end }: { begin: bigint; end: bigint }): boolean {
  return end > begin && end - begin <= BigInt(largestPiece);
}

/** Every piece of a database, in order of line and begin. */
export async function* listLog(driver: StorageDriver, database: string): AsyncGenerator<LogPiece> {
  for await (const object of driver.list(`${logPrefix}${database}/`)) {
    const place = parsePieceName(object.name);
    if (place) yield { ...place, name: object.name, size: object.size, stored: object.modified };
  }
}

/**
 * Durable and read back when it resolves; also when a piece of this name with the same content is there already.
 * Throws WAL_CONFLICT when there is one with other content.
 */
export async function putLogPiece(
  driver: StorageDriver,
  name: string,
  bytes: Uint8Array,
  keys: PieceKeys,
): Promise<void> {
  const { ring, passing } = keys;
  const memory = takeMemory(longestSealed(bytes.length));
  try {
    const level = passing ? passingLevel : undefined;
    const sealed = sealLogPiece(bytes, name, { ...sealKeysOf(keys), level }, new Uint8Array(memory));
    await putSealedPiece(driver, name, { sealed, bytes, ring, passing });
  } finally {
    giveBack(memory);
  }
}

/** zstd's, of what soon gives way to a whole segment: made each second beside a busy server. */
const passingLevel = -5;

/** What a piece is sealed with: the current catalog key, and a data key. */
export interface SealKeys {
  readonly catalogKey: Uint8Array;
  readonly catalogKeyId: string;
  readonly dataKey: Uint8Array;
  readonly dataKeyId: string;
}

function sealKeysOf({ ring, dataKey, dataKeyId }: PieceKeys): SealKeys {
  return { catalogKey: ring.current, catalogKeyId: ring.currentId, dataKey, dataKeyId };
}

/** As `putLogPiece`, of what a `LogSealer` has sealed. */
export async function putSealedPiece(
  driver: StorageDriver,
  name: string,
  piece: { sealed: Uint8Array; bytes: Uint8Array; ring: CatalogRing; passing?: boolean },
): Promise<void> {
  const { sealed, bytes, ring, passing } = piece;
  try {
    await driver.put(name, [sealed], { ifAbsent: true, passing });
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError) || thrown.code !== 'STORAGE_EXISTS') throw thrown;
    // Stored by an earlier run that died before it could say so, or by someone else.
    if (await holdsPiece(driver, { name, bytes, ring })) return;
    throw conflict(name);
  }
  await readBack(driver, name, [sealed]);
}

/** Whether the stored piece, which is read and checked, has exactly these plain bytes. */
async function holdsPiece(
  driver: StorageDriver,
  { name, bytes, ring }: { name: string; bytes: Uint8Array; ring: CatalogRing },
): Promise<boolean> {
  const { plainHash, catalogKey } = await checked(driver, name, ring);
  return contentHasherOf(catalogKey).hash(bytes).equals(plainHash);
}

async function checked(driver: StorageDriver, name: string, ring: CatalogRing) {
  try {
    return checkLogPiece(await driver.get(name), name, ring);
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError) || thrown.code !== 'REPOSITORY_DAMAGED') throw thrown;
    throw new HelvinoError(thrown.code, thrown.message, {
      cause: thrown,
      hint: 'remove this object from the store: what is to be stored in its place is good, and is stored when it comes again',
      context: thrown.context,
    });
  }
}

function conflict(name: string): HelvinoError {
  return new HelvinoError('WAL_CONFLICT', `${name} is stored with other content; nothing was overwritten`, {
    hint: 'two servers write under one name: a copy or a former primary archives to the same place; stop it, or give each its own database in helvino.yaml',
    context: { object: name },
  });
}

/** A sealed piece of so many plain bytes is no longer than that. */
export function longestSealed(length: number): number {
  return startLength + headLength + longestCompressed(length) + tagLength;
}

/** The object's bytes, at the beginning of `into`, which has room for the longest. */
export function sealLogPiece(
  bytes: Uint8Array,
  name: string,
  keys: SealKeys & { readonly level?: number | undefined },
  into: Uint8Array,
): Uint8Array {
  const { catalogKey, catalogKeyId, dataKey, dataKeyId, level = 1 } = keys;
  const start = Buffer.concat([magic, Buffer.from(dataKeyId + catalogKeyId, 'hex'), newSalt()]);
  const salt = start.subarray(24);
  const aad = Buffer.concat([start, Buffer.from(name)]);
  const packed = compress(bytes, level);
  const bodyAt = startLength + headLength;
  const piece = into.subarray(0, bodyAt + packed.length + tagLength);
  sealInto({ key: deriveKey(dataKey, salt, 'wal'), aad }, packed, piece, bodyAt);
  const hasher = contentHasherOf(catalogKey);
  const hashes = Buffer.concat([hasher.hash(bytes), hasher.hash(piece.subarray(bodyAt))]);
  piece.set(start);
  sealInto({ key: deriveKey(catalogKey, salt, 'wal head'), aad }, hashes, piece, startLength);
  return piece;
}

/** `history`: of a timeline; `labels`: of a backup; `gaps`: why a part of the log is missing; `cluster`: whose log it is. */
type LogFileKind = 'history' | 'labels' | 'gaps' | 'cluster';

/**
 * A small file that belongs to a log: structure, readable with the catalog key. Durable and read back when it resolves;
 * also when the same file is there already. Throws WAL_CONFLICT when there is one with other content.
 */
export async function putLogFile(
  repository: Repository,
  file: { database: string; kind: LogFileKind; name: string; bytes: Uint8Array },
): Promise<void> {
  const name = `${logPrefix}${file.database}/${file.kind}/${file.name}`;
  const body = sealEnvelope(file.bytes, { ring: repository.ring, name, magic: 'HVHIST1\n' });
  try {
    await repository.driver.put(name, [body], { ifAbsent: true });
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError) || thrown.code !== 'STORAGE_EXISTS') throw thrown;
    if (Buffer.compare(await openLogFile(repository, name), file.bytes) === 0) return;
    throw conflict(name);
  }
  await readBack(repository.driver, name, [body]);
}

/** Names of the objects. */
export async function* listLogFiles(
  driver: StorageDriver,
  database: string,
  kind: LogFileKind,
): AsyncGenerator<string> {
  for await (const { name } of driver.list(`${logPrefix}${database}/${kind}/`)) yield name;
}

/** Throws REPOSITORY_DAMAGED, KEY_WRONG. */
export async function openLogFile(repository: Repository, name: string): Promise<Uint8Array> {
  return openEnvelope(await repository.driver.get(name), { ring: repository.ring, name, magic: 'HVHIST1\n' });
}

/** Timeline histories by name. */
export async function logFiles(repository: Repository, database: string): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  for await (const name of listLogFiles(repository.driver, database, 'history'))
    files.set(name.slice(name.lastIndexOf('/') + 1), await openLogFile(repository, name));
  return files;
}

/** Which data key opens a piece. Throws REPOSITORY_DAMAGED. */
export function logPieceKeyId(sealed: Uint8Array, name: string): string {
  return partsOf(sealed, name).start.toString('hex', 8, 16);
}

function partsOf(
  sealed: Uint8Array,
  name: string,
): { start: Buffer; head: Buffer; body: Buffer; aad: Buffer } {
  const whole = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  const start = whole.subarray(0, startLength);
  if (whole.length < startLength + headLength + tagLength || !start.subarray(0, 8).equals(magic))
    throw damagedObject(name, 'it does not begin as it should');
  const bodyAt = startLength + headLength;
  const aad = Buffer.concat([start, Buffer.from(name)]);
  return { start, head: whole.subarray(startLength, bodyAt), body: whole.subarray(bodyAt), aad };
}

/** What opens the compressed bytes of a piece. Throws REPOSITORY_DAMAGED. */
export function bodyOfPiece(
  sealed: Uint8Array,
  name: string,
  dataKey: Uint8Array,
): { key: Buffer; body: Buffer; aad: Buffer } {
  const { start, body, aad } = partsOf(sealed, name);
  return { key: deriveKey(dataKey, start.subarray(24), 'wal'), body, aad };
}

/** Plain bytes, as its name says. Throws REPOSITORY_DAMAGED. */
export function lengthOfPiece(name: string): number {
  const place = parsePieceName(name);
  if (place === undefined) throw damagedObject(name, 'its name is none of a piece');
  return Number(place.end - place.begin);
}

/** Checks every stored byte; needs no data key. Throws REPOSITORY_DAMAGED, KEY_WRONG. */
export function checkLogPiece(
  sealed: Uint8Array,
  name: string,
  ring: CatalogRing,
): { plainHash: Buffer; catalogKey: Buffer } {
  const { start, head, body, aad } = partsOf(sealed, name);
  const catalogKey = catalogKeyOf(ring, start.toString('hex', 16, 24), name);
  const hashes = unseal(deriveKey(catalogKey, start.subarray(24), 'wal head'), head, aad);
  if (
    hashes === undefined ||
    !contentHasherOf(catalogKey).hash(body).equals(hashes.subarray(contentHashLength))
  )
    throw damagedObject(name, 'its stored bytes were changed');
  return { plainHash: hashes.subarray(0, contentHashLength), catalogKey };
}
