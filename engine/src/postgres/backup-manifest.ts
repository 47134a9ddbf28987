/**
 * A backup manifest in PostgreSQL's format, to be uploaded before an incremental base backup (17 and later).
 * https://www.postgresql.org/docs/current/backup-manifest-format.html
 */
import { createHash } from 'node:crypto';
import { formatLsn } from './lsn.ts';

interface BackupManifestInput {
  /** Decimal. */
  readonly systemId: string;
  /** Paths relative to the data directory, tablespaces as `pg_tblspc/OID/…`. `mtime` in seconds since 1970. */
  readonly files: Iterable<{ readonly path: string; readonly size: number; readonly mtime: number }>;
  readonly walRanges: readonly {
    readonly timeline: number;
    readonly startLsn: bigint;
    readonly endLsn: bigint;
  }[];
}

const pieceSize = 64 << 10;

/**
 * Yields it in pieces of about 64 KiB. File checksums are optional and left out: for an incremental backup the server looks
 * only at paths, sizes and WAL ranges.
 */
export function* backupManifest(input: BackupManifestInput): Generator<Uint8Array> {
  const hash = createHash('sha256');
  let text = '';
  for (const line of body(input)) {
    text += line;
    if (text.length < pieceSize) continue;
    yield sealed(text);
    text = '';
  }
  // The checksum covers every byte before the line that it is in.
  const last = sealed(text);
  yield Buffer.concat([last, Buffer.from(`"Manifest-Checksum": "${hash.digest('hex')}"}\n`)]);

  function sealed(piece: string): Buffer {
    const bytes = Buffer.from(piece);
    hash.update(bytes);
    return bytes;
  }
}

function* body({ systemId, files, walRanges }: BackupManifestInput): Generator<string> {
  yield `{ "PostgreSQL-Backup-Manifest-Version": 2,\n"System-Identifier": ${systemId},\n"Files": [`;
  let separator = '\n';
  for (const { path, size, mtime } of files) {
    yield `${separator}{ "Path": ${JSON.stringify(path)}, "Size": ${size}, "Last-Modified": "${gmt(mtime)}" }`;
    separator = ',\n';
  }
  yield '\n],\n"WAL-Ranges": [';
  separator = '\n';
  for (const { timeline, startLsn, endLsn } of walRanges) {
    yield `${separator}{ "Timeline": ${timeline}, "Start-LSN": "${formatLsn(startLsn)}", "End-LSN": "${formatLsn(endLsn)}" }`;
    separator = ',\n';
  }
  yield '\n],\n';
}

/** `2026-11-25 12:03:02 GMT` */
function gmt(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('T', ' ').replace(/\..*$/, ' GMT');
}
