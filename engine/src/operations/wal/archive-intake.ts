/**
 * What `archive_command` hands over, checked and stored: segments, the last incomplete segment of a timeline, timeline
 * histories, backup histories. Resolves only when the object is durable and was read back; the same file again is accepted,
 * another under its name is not.
 * https://www.postgresql.org/docs/current/continuous-archiving.html
 */
import type { Clock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import { continuousRanges, type LedgerGap } from '../../catalog/index.ts';
import {
  formatLsn,
  parseTimelineHistory,
  parseWalFileName,
  readSegmentHeader,
  type SegmentHeader,
  timelineHistoryName,
} from '../../postgres/index.ts';
import {
  type LogNote,
  LogPieces,
  listLogNotes,
  logFiles,
  logPieceName,
  putLogFile,
  putLogPiece,
  type Repository,
} from '../../repository/index.ts';
import { RotatingDataKey } from './data-key.ts';
import { gapsAlong, recordedGaps, tellMissing } from './gaps.ts';
import { claimLog, type KnownCluster } from './known-cluster.ts';

export interface IntakeOptions {
  readonly repository: Repository;
  readonly recipients: readonly string[];
  readonly database: string;
  readonly clock: Clock;
  /** Asked at the start, and again before a file is refused as one of another cluster. */
  readonly known: () => Promise<KnownCluster>;
  readonly progress: Progress;
  /** A whole segment is stored, or all that there is of a timeline's last. */
  readonly onSegment: (segment: StoredSegment) => Promise<void>;
}

export interface OfferedFile {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** System identifier in the control file beside it, if the client could read that. */
  readonly systemId: string | undefined;
}

export interface StoredSegment {
  readonly timeline: number;
  readonly begin: bigint;
  readonly bytes: Uint8Array;
  /**
   * Where a later timeline left this one within the segment: what is behind it is no WAL (a standby with archive_mode = always
   * archives it so), or that of a server that went on alone.
   */
  readonly left: bigint | undefined;
}

type Place =
  | { readonly kind: 'segment' | 'partial'; readonly timeline: number; readonly begin: bigint }
  | { readonly kind: 'history'; readonly timeline: number }
  | { readonly kind: 'labels' };

const largestSmallFile = 1 << 20;
const pageSize = 8192;

export class ArchiveIntake {
  readonly #options: IntakeOptions;
  readonly #key: RotatingDataKey;
  #known: KnownCluster;
  /** The cluster whose WAL this is, once the repository says so. */
  #claimed: string | undefined;
  /** Where the last segment ended: no gap before the next is there, or it is recorded. */
  #last: { timeline: number; end: bigint } | undefined;

  private constructor(options: IntakeOptions, known: KnownCluster) {
    this.#options = options;
    this.#known = known;
    this.#key = new RotatingDataKey(options);
  }

  static async open(options: IntakeOptions): Promise<ArchiveIntake> {
    return new ArchiveIntake(options, await options.known());
  }

  /** Before the bytes are read: so no more memory is taken than a file of its kind may need. Throws USAGE, PROTOCOL. */
  admit({ name, size }: OfferedFile): void {
    const { kind } = this.#place(name);
    const { segmentSize } = this.#known;
    if (kind === 'segment' || kind === 'partial') {
      if (size === segmentSize) return;
      throw refused(`it has ${size} bytes; a segment of this cluster has ${segmentSize}`);
    }
    if (size === 0 || size > largestSmallFile) throw refused(`it has ${size} bytes, which no such file has`);
  }

  /** Throws SERVER_WRONG_CLUSTER, SERVER_VERSION, WAL_CONFLICT, PROTOCOL, STORAGE_*. Nothing is stored then. */
  async store(file: OfferedFile, bytes: Uint8Array): Promise<void> {
    const place = this.#place(file.name);
    if (place.kind === 'segment') return this.#storeSegment(file.name, place, bytes);
    if (place.kind === 'partial') return this.#storePartial(file.name, place, bytes);
    const systemId = await this.#checkCluster(file.name, file.systemId);
    if (place.kind === 'history') checkHistory(place.timeline, bytes);
    else if (!Buffer.from(bytes.subarray(0, 20)).equals(Buffer.from('START WAL LOCATION: ')))
      throw refused('it does not begin as a backup history does');
    const { repository, database } = this.#options;
    await this.#claim(systemId);
    await putLogFile(repository, { database, kind: place.kind, name: file.name, bytes });
  }

  async #storeSegment(
    name: string,
    place: { timeline: number; begin: bigint },
    bytes: Uint8Array,
  ): Promise<void> {
    await this.#checkHeader(name, place, bytes);
    await this.#put(place, bytes);
    await this.#tellGap(place);
    const left = await this.#leftAt(place);
    await this.#options.onSegment({ ...place, bytes, left });
  }

  /** The server hands over one segment after the other: what is missing before this one was not handed over. */
  async #tellGap({ timeline, begin }: { timeline: number; begin: bigint }): Promise<void> {
    const last = this.#last;
    const end = begin + BigInt(this.#known.segmentSize);
    if (last?.timeline !== timeline || last.end !== begin) {
      for (const { line, begin: from, end: to } of await this.#unknownGaps()) {
        const isBefore = line === timeline ? to === begin : line < timeline && to >= begin && to < end;
        if (!isBefore) continue;
        const gap = { timeline: line, from, toTimeline: line, to };
        await tellMissing(this.#options, { ...gap, reason: 'not-archived' });
      }
    }
    this.#last = { timeline, end };
  }

  async #unknownGaps(): Promise<LedgerGap[]> {
    const { repository, database } = this.#options;
    const ranges = continuousRanges(await LogPieces.read(repository.driver, database));
    if (ranges.length < 2) return [];
    const recorded = await recordedGaps(repository, database);
    const gaps = await gapsAlong(repository, database, { ranges, recorded });
    const indexes = await listLogNotes(repository, database, 'index');
    // What has an index was stored here: then it is the store that lost it. An empty one is of the segment before it.
    const isOf = (index: LogNote, { line, begin, end }: LedgerGap) =>
      index.line === line && begin < index.end && (index.begin < end || index.end === end);
    return gaps.filter((gap) => gap.reason === 'unknown' && !indexes.some((index) => isOf(index, gap)));
  }

  /**
   * A server that was promoted within a segment archives what it has of the old timeline's. It is stored up to the position
   * where the timeline was left, as a part of the segment: it never poses as the whole, which the old server may yet archive.
   */
  async #storePartial(
    name: string,
    place: { timeline: number; begin: bigint },
    bytes: Uint8Array,
  ): Promise<void> {
    await this.#checkHeader(name, place, bytes);
    const left = await this.#leftAt(place);
    if (left === undefined) {
      throw new HelvinoError(
        'STORAGE_NOT_FOUND',
        `no stored timeline history leaves timeline ${place.timeline} within this segment`,
        { hint: 'the server archives the history first and tries again' },
      );
    }
    await this.#put(place, bytes.subarray(0, Number(left - place.begin)));
    await this.#options.onSegment({ ...place, bytes, left });
  }

  /** Where the newest stored timeline that left this one within the segment did so. */
  async #leftAt({ timeline, begin }: { timeline: number; begin: bigint }): Promise<bigint | undefined> {
    const { repository, database } = this.#options;
    const end = begin + BigInt(this.#known.segmentSize);
    for (const [, bytes] of [...(await logFiles(repository, database))].sort().reverse()) {
      const left = parseTimelineHistory(bytes).find((entry) => entry.timeline === timeline)?.switchLsn;
      if (left !== undefined && left > begin && left < end) return left;
    }
    return undefined;
  }

  async #put({ timeline, begin }: { timeline: number; begin: bigint }, bytes: Uint8Array): Promise<void> {
    const { repository, database } = this.#options;
    await this.#claim(readSegmentHeader(bytes).systemId);
    const { key, keyId } = await this.#key.current();
    const name = logPieceName(database, { line: timeline, begin, end: begin + BigInt(bytes.length) });
    await putLogPiece(repository.driver, name, bytes, {
      ring: repository.ring,
      dataKey: key,
      dataKeyId: keyId,
    });
  }

  /** After all checks: so nothing that is refused makes this the log of its cluster. */
  async #claim(systemId: string): Promise<void> {
    if (this.#claimed === systemId) return;
    await claimLog(this.#options.repository, this.#options.database, systemId);
    this.#claimed = systemId;
  }

  async #checkHeader(
    name: string,
    { timeline, begin }: { timeline: number; begin: bigint },
    bytes: Uint8Array,
  ): Promise<void> {
    const header = readSegmentHeader(bytes);
    await this.#checkCluster(name, header.systemId, header);
    if (header.segmentSize !== bytes.length || header.pageSize !== pageSize)
      throw refused(
        `it says that segments have ${header.segmentSize} bytes and pages ${header.pageSize}; it has ${bytes.length} and ${pageSize}`,
      );
    if (header.begin !== begin)
      throw refused(
        `it begins with position ${formatLsn(header.begin)}; a file of this name, with ${formatLsn(begin)}`,
      );
    const written = await this.#timelineAt(timeline, begin, header.timeline);
    if (header.timeline !== written)
      throw refused(`its first page was written on timeline ${header.timeline}, not ${written}`);
  }

  /** On which timeline the WAL of `timeline` at a position was written. */
  async #timelineAt(timeline: number, position: bigint, said: number): Promise<number> {
    if (said === timeline) return timeline;
    const { repository, database } = this.#options;
    const history = (await logFiles(repository, database)).get(timelineHistoryName(timeline));
    // Without the history only this much is known: a timeline's segments never have pages of a later one.
    if (history === undefined) return Math.min(said, timeline);
    return parseTimelineHistory(history).find((entry) => position < entry.switchLsn)?.timeline ?? timeline;
  }

  async #checkCluster(name: string, systemId: string | undefined, header?: SegmentHeader): Promise<string> {
    if (systemId === undefined)
      throw refused('the client could not read global/pg_control, which says which cluster it is of');
    const fits = () =>
      systemId === this.#known.systemId && (header === undefined || header.major === this.#known.major);
    if (fits()) return systemId;
    // The cluster may have been made anew, and a backup of it taken, since we asked.
    this.#known = await this.#options.known();
    if (fits()) return systemId;
    const { database } = this.#options;
    if (systemId !== this.#known.systemId) {
      throw new HelvinoError(
        'SERVER_WRONG_CLUSTER',
        `it is of the cluster ${systemId}; ${database} is ${this.#known.systemId}`,
        {
          hint: 'see which server has this archive_command; if the cluster was made anew, give it a database of its own in helvino.yaml, or take a backup with --new-cluster',
          context: { name, systemId, known: this.#known.systemId },
        },
      );
    }
    const version = header?.major ?? `unknown (page magic 0x${header?.magic.toString(16)})`;
    throw new HelvinoError(
      'SERVER_VERSION',
      `it is of PostgreSQL ${version}; ${database} is ${this.#known.major}`,
      { hint: 'take a backup after an upgrade; PostgreSQL 14 to 18 are supported', context: { name } },
    );
  }

  /** Throws USAGE. */
  #place(name: string): Place {
    const [, base = '', suffix = ''] = /^([0-9A-F]{24})(\.partial|\.[0-9A-F]{8}\.backup)?$/.exec(name) ?? [];
    const segment = parseWalFileName(base, this.#known.segmentSize);
    if (segment) {
      if (suffix.endsWith('.backup')) return { kind: 'labels' };
      return { kind: suffix === '' ? 'segment' : 'partial', ...segment };
    }
    const timeline = Number.parseInt(/^([0-9A-F]{8})\.history$/.exec(name)?.[1] ?? '0', 16);
    if (timeline > 1) return { kind: 'history', timeline };
    throw new HelvinoError('USAGE', `"${name}" is not the name of a WAL file`, {
      hint: 'archive_command must end in "%p" "%f"',
    });
  }
}

function checkHistory(timeline: number, bytes: Uint8Array): void {
  const last = parseTimelineHistory(bytes).at(-1);
  if (!last || last.timeline >= timeline)
    throw refused(
      `it is not how timeline ${timeline} came about: its last entry is of timeline ${last?.timeline ?? 'none'}`,
    );
}

function refused(why: string): HelvinoError {
  return new HelvinoError('PROTOCOL', why, {
    hint: 'the file is not what its name says, or was cut; nothing was stored',
  });
}
