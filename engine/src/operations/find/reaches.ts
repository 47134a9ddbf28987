/**
 * Whether a backup leads to the moment before a transaction. By the ends of the backups and what WAL is listed: none is read, so what
 * only reading shows is left to the restore.
 */
import { HelvinoError } from '../../base/errors.ts';
import {
  continuousRanges,
  type LedgerRange,
  type PathStep,
  pathFrom,
  physicalFacts,
  type RecordedGap,
  reachAlong,
  timelineAt,
  withoutDamage,
} from '../../catalog/index.ts';
import { formatLsn, parseLsn, walSegmentBegin } from '../../postgres/index.ts';
import type { BackupName, LogPiece, Repository } from '../../repository/index.ts';
import { mapParallel } from '../../streams/index.ts';
import { pathOf } from '../wal/path-of.ts';

export interface ReachesOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly pieces: Iterable<LogPiece>;
  readonly gaps: readonly RecordedGap[];
  readonly histories: ReadonlyMap<string, Uint8Array>;
}

interface Place {
  readonly timeline: number;
  readonly lsn: bigint;
  readonly end: bigint;
}

export interface Judged {
  readonly isPast: boolean;
  readonly unreachable: string | undefined;
}

interface BackupEnd {
  readonly id: string;
  readonly timeline: number;
  readonly from: bigint;
  /** From where its WAL is read: a segment's begin. */
  readonly begin: bigint;
}

/** Backups that are read at a time. */
const readers = 4;

export class Reaches {
  readonly #options: ReachesOptions;
  readonly #ranges: readonly LedgerRange[];

  constructor(options: ReachesOptions) {
    this.#options = options;
    this.#ranges = withoutDamage(continuousRanges(options.pieces), options.gaps);
  }

  /** In the same order. Reads backups from the newest on, no more than are needed. */
  async judge<T extends Place>(places: readonly T[], newest: number): Promise<(T & Judged)[]> {
    const { repository, database, histories } = this.#options;
    const newestPath = pathOf(newest, histories);
    const judged = places.map((place) => {
      const isPast = timelineAt(newestPath, place.lsn) !== place.timeline;
      const path = isPast ? pathOf(place.timeline, histories) : newestPath;
      return { place, path, isPast, unreachable: noBackup as string | undefined };
    });
    const names = places.length === 0 ? [] : (await repository.backups(database)).reverse();
    for await (const backup of mapParallel(names, readers, (name) => this.#endOf(name))) {
      if (!backup) continue;
      let isOpen = false;
      for (const one of judged) {
        if (one.unreachable !== undefined) one.unreachable = this.#shortOf(one, backup);
        isOpen ||= one.unreachable !== undefined;
      }
      if (!isOpen) break;
    }
    return judged.map(({ place, isPast, unreachable }) => ({ ...place, isPast, unreachable }));
  }

  /** Undefined: of another kind, or it cannot be read. */
  async #endOf({ database, id }: BackupName): Promise<BackupEnd | undefined> {
    const summary = await this.#options.repository.summary(database, id).catch((thrown: unknown) => {
      if (thrown instanceof HelvinoError) return undefined;
      throw thrown;
    });
    const facts = summary && physicalFacts(summary);
    if (!facts) return undefined;
    const from = parseLsn(facts.walEnd);
    return { id, timeline: facts.timeline, from, begin: walSegmentBegin(from, facts.walSegmentSize) };
  }

  /** Undefined: the backup leads there. The newest that ended before it says where the gap is. */
  #shortOf(
    {
      place,
      path,
      unreachable,
    }: { place: Place; path: readonly PathStep[]; unreachable: string | undefined },
    { id, timeline, from, begin }: BackupEnd,
  ): string | undefined {
    const rest = from <= place.lsn ? pathFrom(path, timeline, from) : undefined;
    if (!rest) return unreachable;
    const { position } = reachAlong(this.#ranges, rest, begin);
    if (place.end <= position) return undefined;
    if (unreachable !== noBackup) return unreachable;
    const reach = position > from ? position : from;
    return `from the backup before it, ${id}, stored WAL leads to ${formatLsn(reach)} only`;
  }
}

const noBackup = 'no backup that is there ended before it';
