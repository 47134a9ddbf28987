/**
 * What an encoder does with a piece of a file of the server, in its own thread: reads it, and verifies the checksums of its
 * pages as the server does while it sends them. A page that was written since the backup began is replayed from WAL, however
 * it looks; one that looks wrong is read again, for it may have been half written.
 * https://www.postgresql.org/docs/current/checksums.html
 */
import { closeSync } from 'node:fs';
import { HelvinoError, systemCode } from '../base/errors.ts';
import { readAt } from '../base/read-at.ts';
import type { FetchReport, FilePiece } from './file-pieces.ts';
import { verifyPages } from './page-checksum.ts';
import { type PageChecksum, pageChecksumIn } from './page-checksum-module.ts';
import { openSourceFile } from './source-file.ts';

const pageSize = 8192;
/** Offsets in a page: https://www.postgresql.org/docs/current/storage-page-layout.html */
const checksumAt = 8;
const upperAt = 14;
const mostReads = 4;
const pause = new Int32Array(new SharedArrayBuffer(4));

interface Place {
  readonly bytes: Uint8Array;
  /** Of `bytes` in the memory. */
  readonly address: number;
}

/** `memory`: a shared WebAssembly.Memory that holds all that is fetched, if there is one. */
export function fetcher({
  memory,
}: {
  readonly memory: unknown;
}): (place: Place, piece: FilePiece) => FetchReport[] {
  const checksum = memory === undefined ? undefined : pageChecksumIn(memory);
  return ({ bytes, address }, piece) => fetchPiece(bytes, piece, { checksum, address });
}

interface Sums {
  readonly checksum: PageChecksum | undefined;
  /** Of `bytes` in the memory of `checksum`. */
  readonly address: number;
}

function fetchPiece(bytes: Uint8Array, piece: FilePiece, sums: Sums): FetchReport[] {
  const { fd, path, offset } = piece;
  try {
    // What a file has lost since it was opened is zero, as in what the server sends: WAL says the same.
    if (fd !== undefined) bytes.fill(0, readAt(fd, bytes, offset));
    return piece.pages ? badPages(bytes, { ...piece, pages: piece.pages }, sums) : [];
  } catch (thrown) {
    const why = thrown instanceof HelvinoError ? thrown.context.why : systemCode(thrown);
    if (why === undefined) throw thrown;
    return [{ kind: 'unreadable', path, why: String(why) }];
  }
}

type PagesPiece = FilePiece & { readonly pages: NonNullable<FilePiece['pages']> };

function badPages(bytes: Uint8Array, piece: PagesPiece, { checksum, address }: Sums): FetchReport[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const reports: FetchReport[] = [];
  const { block } = piece.pages;
  const since = wordsOf(piece.pages.since);
  for (let at = 0; at + pageSize <= bytes.length; at += pageSize) {
    // A new page has no checksum.
    if (view.getUint16(at + upperAt, true) === 0 || isSince(view, at, since)) continue;
    const number = block + at / pageSize;
    const found = view.getUint16(at + checksumAt, true);
    if (checksum !== undefined && checksum(address + at, number) === found) continue;
    const page = bytes.subarray(at, at + pageSize);
    const bad = problemOf(page, { piece, offset: piece.offset + at, number, since });
    if (bad !== undefined) reports.push({ kind: 'bad-page', path: piece.path, block: number, detail: bad });
  }
  return reports;
}

/** Once for many pages, which are compared by words: the upper one first, as in pd_lsn. */
type LsnWords = readonly [high: number, low: number];

function wordsOf(lsn: bigint): LsnWords {
  return [Number(lsn >> 32n), Number(lsn & 0xffffffffn)];
}

function isSince(view: DataView, at: number, [high, low]: LsnWords): boolean {
  const [ownHigh, ownLow] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
  return ownHigh > high || (ownHigh === high && ownLow >= low);
}

/** Reads the page again until it is good, or has been bad too often. */
function problemOf(
  page: Uint8Array,
  { piece, offset, number, since }: { piece: PagesPiece; offset: number; number: number; since: LsnWords },
): string | undefined {
  let detail = wrong(page, number);
  for (let reads = 1; detail !== undefined && reads < mostReads; reads++) {
    Atomics.wait(pause, 0, 0, reads);
    const got = readAgain(piece, page, offset);
    page.fill(0, got);
    const view = new DataView(page.buffer, page.byteOffset, page.length);
    // Cut off, or written meanwhile: its WAL comes with the backup.
    if (got < page.length || isSince(view, 0, since)) return undefined;
    detail = wrong(page, number);
  }
  return detail;
}

function wrong(page: Uint8Array, number: number): string | undefined {
  // Behind a small file in the same slot a page may begin anywhere; verifyPages wants words.
  const aligned = page.byteOffset % 4 === 0 ? page : Uint8Array.from(page);
  const [bad] = verifyPages(aligned, number);
  if (bad === undefined || bad.expected === 0) return undefined;
  return `its checksum is ${hex(bad.found)}, not ${hex(bad.expected)}`;
}

function readAgain({ fd, path, owner }: PagesPiece, page: Uint8Array, offset: number): number {
  if (fd !== undefined) return readAt(fd, page, offset);
  const again = openSourceFile(path, owner);
  // Dropped meanwhile.
  if (again === undefined) return 0;
  try {
    return readAt(again.fd, page, offset);
  } finally {
    closeSync(again.fd);
  }
}

function hex(value: number): string {
  return value.toString(16).toUpperCase().padStart(4, '0');
}
