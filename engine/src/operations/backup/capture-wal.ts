/**
 * The WAL that makes a backup restorable on its own: from the segment of its start to a given position, received over the
 * same replication connection, whose temporary slot has kept it. Stored as files of `pg_wal`; what lies after the end
 * position is zero, so that recovery from this backup alone ends exactly there.
 */
import {
  formatLsn,
  type ReplicationConnection,
  type WalStream,
  walFileName,
  walSegmentBegin,
} from '../../postgres/index.ts';
import type { EncoderPool } from '../../repository/index.ts';
import type { Ingest } from './ingest.ts';
import { timelineChanged } from './timeline-changed.ts';

export interface WalSpan {
  readonly startLsn: bigint;
  readonly endLsn: bigint;
  readonly timeline: number;
  /** Bytes of a segment. */
  readonly segmentSize: number;
  readonly slot: string | undefined;
  /** Seconds since 1970, for the files. */
  readonly mtime: number;
  /** Whose files they shall be: as the other files of the data directory. */
  readonly owner: { readonly uid: number; readonly gid: number };
}

export async function captureWal(
  connection: ReplicationConnection,
  { span, ingest, pool }: { span: WalSpan; ingest: Ingest; pool: EncoderPool },
): Promise<{ segments: number; bytes: number }> {
  const writer = new SegmentFiles(span, ingest);
  let stream: WalStream | undefined;
  let stopping: Promise<void> | undefined;
  const stopAtEnd = () => {
    if (!writer.complete || stream === undefined || stopping !== undefined) return;
    stopping = stream.stop();
    stopping.catch(() => undefined);
  };
  stream = await connection.startPhysicalReplication(
    { slot: span.slot, startLsn: writer.begin, timeline: span.timeline },
    {
      wal: (_start, bytes) => {
        writer.write(bytes);
        stopAtEnd();
      },
      ready: () => (writer.complete ? undefined : pool.congestion()),
    },
  );
  // WAL may come in the same read as the answer.
  stopAtEnd();
  await stream.done;
  await stopping;
  // The server ends the stream by itself where the timeline ends: zeroes from there on would look like WAL that is whole.
  if (!writer.complete) {
    throw timelineChanged(
      `timeline ${span.timeline} of the server ended before ${formatLsn(span.endLsn)}, which the backup needs: it was promoted, or followed a promotion`,
    );
  }
  await writer.end(() => pool.congestion());
  return { segments: writer.segments, bytes: Number(span.endLsn - writer.begin) };
}

/** Cuts the stream into segment files, drops what comes after the end, and fills the last file with zeroes. */
class SegmentFiles {
  readonly begin: bigint;
  segments = 0;
  readonly #span: WalSpan;
  readonly #ingest: Ingest;
  #position: bigint;
  #left = 0;

  constructor(span: WalSpan, ingest: Ingest) {
    this.#span = span;
    this.#ingest = ingest;
    this.begin = walSegmentBegin(span.startLsn, span.segmentSize);
    this.#position = this.begin;
  }

  get complete(): boolean {
    return this.#position >= this.#span.endLsn;
  }

  write(bytes: Uint8Array): void {
    const wanted = this.#span.endLsn - this.#position;
    if (wanted <= 0n) return;
    let rest = BigInt(bytes.length) > wanted ? bytes.subarray(0, Number(wanted)) : bytes;
    while (rest.length > 0) {
      if (this.#left === 0) this.#next();
      const count = Math.min(rest.length, this.#left);
      this.#ingest.data(rest.subarray(0, count));
      this.#position += BigInt(count);
      this.#left -= count;
      if (this.#left === 0) this.#ingest.entryEnd();
      rest = rest.subarray(count);
    }
  }

  /** `room`: to be awaited before more is given, when it is a promise. */
  async end(room: () => Promise<void> | undefined): Promise<void> {
    const zeroes = new Uint8Array(64 << 10);
    while (this.#left > 0) {
      await room();
      const count = Math.min(this.#left, zeroes.length);
      this.#ingest.data(zeroes.subarray(0, count));
      this.#left -= count;
      if (this.#left === 0) this.#ingest.entryEnd();
    }
    this.#ingest.archive(undefined);
  }

  #next(): void {
    const { timeline, segmentSize, mtime, owner } = this.#span;
    const path = `pg_wal/${walFileName(timeline, this.#position, segmentSize)}`;
    const file = { type: 'file' as const, mode: 0o600, ...owner, mtime, linkTarget: undefined };
    this.#ingest.archive(undefined);
    // Marked as archived, so that a restored server does not archive it again under the same name.
    this.#ingest.entry({
      ...file,
      path: `pg_wal/archive_status/${path.slice('pg_wal/'.length)}.done`,
      size: 0,
    });
    this.#ingest.entryEnd();
    this.#ingest.entry({ ...file, path, size: segmentSize });
    this.#left = segmentSize;
    this.segments++;
  }
}
