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
    const paths = new Map(
      [...new Set([newest, ...places.map(({ timeline }) => timeline)])].map((line) => [
        line,
        pathOf(line, histories),
      ]),
    );
    const judged = places.map((place) => {
      const isPast = timelineAt(paths.get(newest)!, place.lsn) !== place.timeline;
      return {
        place,
        isPast,
        to: isPast ? place.timeline : newest,
        unreachable: noBackup as string | undefined,
      };
    });
    const names = places.length === 0 ? [] : (await repository.backups(database)).reverse();
    for await (const backup of mapParallel(names, readers, (name) => this.#endOf(name))) {
      if (!backup) continue;
      const open = judged.filter(({ unreachable }) => unreachable !== undefined);
      if (open.length === 0) break;
      const reaches = new Map([...paths].map(([line, path]) => [line, this.#reachOf(backup, path)]));
      for (const one of open) one.unreachable = shortOf(one, backup, reaches.get(one.to));
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

  /** How far stored WAL leads from a backup along a path; undefined: the path is not through its end. */
  #reachOf({ timeline, from, begin }: BackupEnd, path: readonly PathStep[]): bigint | undefined {
    const rest = pathFrom(path, timeline, from);
    if (!rest) return undefined;
    const { position } = reachAlong(this.#ranges, rest, begin);
    return position > from ? position : from;
  }
}

const noBackup = 'no backup that is there ended before it';

/** Undefined: the backup leads there. The newest that ended before it says where the gap is. */
function shortOf(
  { place, unreachable }: { place: Place; unreachable: string | undefined },
  { id, from }: BackupEnd,
  reach: bigint | undefined,
): string | undefined {
  if (reach === undefined || from > place.lsn) return unreachable;
  if (place.end <= reach) return undefined;
  if (unreachable !== noBackup) return unreachable;
  return `from the backup before it, ${id}, stored WAL leads to ${formatLsn(reach)} only`;
}
