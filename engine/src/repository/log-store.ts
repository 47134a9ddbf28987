/**
 * The log store: an endless byte sequence per line (PostgreSQL: WAL per timeline), stored as pieces that never change.
 *
 *     wal/<database>/<line>/<begin>-<end>    bytes [begin, end) of the line; line 8, positions 16 hexadecimal digits
 *     wal/<database>/history/<name>          small files that belong to a line
 *
 * Names alone say what is there, so that continuity is known from a listing. A long piece makes the short ones inside it
 * superfluous. A piece: 8 bytes "HVWALS1\n", 8 bytes data key id, 8 bytes catalog key id, 16 bytes random salt, the text
 * and tag of the zstd-compressed bytes under deriveKey(data key, salt, "wal") with the first 40 bytes and the name as
 * associated data, and 16 bytes content hash of all that, so that a host without the data key can check it.
 */
import { HelvinoError } from '../base/errors.ts';
import type { StorageDriver } from '../storage/index.ts';
import { contentHashLength, deriveKey, newSalt, seal, unseal } from './crypto.ts';
import { damagedObject, openEnvelope, sealEnvelope } from './envelope.ts';
import { type CatalogRing, contentHasherOf } from './keys.ts';
import { compress, decompress } from './pack-format.ts';
import { readBack } from './read-back.ts';
import type { Repository } from './repository.ts';

const magic = Buffer.from('HVWALS1\n');
const headLength = 40;
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
  return { line: Number.parseInt(line!, 16), begin: BigInt(`0x${begin}`), end: BigInt(`0x${end}`) };
}

/** Every piece of a database, in order of line and begin. */
export async function* listLog(driver: StorageDriver, database: string): AsyncGenerator<LogPiece> {
  for await (const object of driver.list(`${logPrefix}${database}/`)) {
    const place = parsePieceName(object.name);
    if (place) yield { ...place, name: object.name, size: object.size, stored: object.modified };
  }
}

/** Durable and read back when it resolves; true also when the very same piece is there already. */
export async function putLogPiece(
  driver: StorageDriver,
  name: string,
  bytes: Uint8Array,
  keys: PieceKeys,
): Promise<void> {
  const sealed = sealPiece(bytes, name, keys);
  try {
    await driver.put(name, [sealed], { ifAbsent: true });
  } catch (thrown) {
    // Stored by an earlier run that died before it could say so.
    if (thrown instanceof HelvinoError && thrown.code === 'STORAGE_EXISTS') return;
    throw thrown;
  }
  await readBack(driver, name, [sealed]);
}

function sealPiece(bytes: Uint8Array, name: string, { ring, dataKey, dataKeyId }: PieceKeys): Buffer {
  const ids = Buffer.from(dataKeyId + ring.currentId, 'hex');
  const head = Buffer.concat([magic, ids, newSalt()]);
  const aad = Buffer.concat([head, Buffer.from(name)]);
  const [body, tag] = seal(deriveKey(dataKey, head.subarray(24), 'wal'), compress(bytes, 1), aad);
  const whole = Buffer.concat([head, body, tag]);
  return Buffer.concat([whole, contentHasherOf(ring.current).hash(whole)]);
}

/** A small file that belongs to a log (a timeline history): structure, readable with the catalog key. */
export async function putLogFile(
  repository: Repository,
  file: { database: string; name: string; bytes: Uint8Array },
): Promise<void> {
  const name = `${logPrefix}${file.database}/history/${file.name}`;
  const body = sealEnvelope(file.bytes, { ring: repository.ring, name, magic: 'HVHIST1\n' });
  try {
    await repository.driver.put(name, [body], { ifAbsent: true });
  } catch (thrown) {
    if (thrown instanceof HelvinoError && thrown.code === 'STORAGE_EXISTS') return;
    throw thrown;
  }
}

/** By name. */
export async function logFiles(repository: Repository, database: string): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  const prefix = `${logPrefix}${database}/history/`;
  for await (const { name } of repository.driver.list(prefix)) {
    const plain = openEnvelope(await repository.driver.get(name), {
      ring: repository.ring,
      name,
      magic: 'HVHIST1\n',
    });
    files.set(name.slice(prefix.length), plain);
  }
  return files;
}

/** Which data key opens a piece. Throws REPOSITORY_DAMAGED. */
export function logPieceKeyId(sealed: Uint8Array, name: string): string {
  const head = Buffer.from(sealed.buffer, sealed.byteOffset, Math.min(sealed.byteLength, headLength));
  if (head.length < headLength || !head.subarray(0, 8).equals(magic))
    throw damagedObject(name, 'it does not begin as it should');
  return head.toString('hex', 8, 16);
}

/** The plain bytes. Throws REPOSITORY_DAMAGED. */
export function openLogPiece(sealed: Uint8Array, name: string, dataKey: Uint8Array): Uint8Array {
  logPieceKeyId(sealed, name);
  const whole = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  const head = whole.subarray(0, headLength);
  const text = whole.subarray(headLength, Math.max(headLength, whole.length - contentHashLength));
  const packed = unseal(
    deriveKey(dataKey, head.subarray(24), 'wal'),
    text,
    Buffer.concat([head, Buffer.from(name)]),
  );
  if (packed === undefined) throw damagedObject(name, 'it was changed or cut');
  const place = parsePieceName(name);
  const plain = decompress(packed, 1, largestPiece, name);
  if (place && BigInt(plain.length) !== place.end - place.begin)
    throw damagedObject(name, `it holds ${plain.length} bytes`);
  return plain;
}

/** Checks the hash of the stored bytes: needs no data key. */
export function checkLogPiece(sealed: Uint8Array, name: string, ring: CatalogRing): void {
  const whole = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
  logPieceKeyId(sealed, name);
  const key = ring.find(whole.toString('hex', 16, 24));
  const body = whole.subarray(0, Math.max(headLength, whole.length - contentHashLength));
  if (key && !contentHasherOf(key).hash(body).equals(whole.subarray(body.length)))
    throw damagedObject(name, 'its stored bytes were changed');
}
