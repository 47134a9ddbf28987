/**
 * Whether a backup leads to the moment before a transaction. By the ends of the backups and what WAL is listed: none is read, so what
 * only reading shows is left to the restore. A backup's end is in its manifest, which may be large: names and times say which matter.
 */
import { HelvinoError } from '../../base/errors.ts';
import { plural } from '../../base/format.ts';
import { backupIdTime } from '../../base/ids.ts';
import type { Progress } from '../../base/progress.ts';
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
import type { BackupName, LogPiece, ManifestSummary, Repository } from '../../repository/index.ts';
import { mapParallel } from '../../streams/index.ts';
import { pathOf } from '../wal/path-of.ts';

export interface ReachesOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly pieces: Iterable<LogPiece>;
  readonly gaps: readonly RecordedGap[];
  readonly histories: ReadonlyMap<string, Uint8Array>;
  /** Timelines whose history cannot be read: what leads to them is not known. */
  readonly unknownLines: ReadonlySet<number>;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

interface Place {
  readonly timeline: number;
  readonly lsn: bigint;
  readonly end: bigint;
  /** Microseconds since 1970, by the server's clock. */
  readonly time: number;
}

export interface Judged {
  readonly isPast: boolean;
  /** Undefined: a backup leads there, or it could not be looked. */
  readonly unreachable: string | undefined;
}

interface Known extends BackupName {
  /** As its id says, by the clock of the host that took it: milliseconds since 1970. */
  readonly began: number;
}

interface BackupEnd {
  readonly timeline: number;
  readonly from: bigint;
  /** From where its WAL is read: a segment's begin. */
  readonly begin: bigint;
  /** Milliseconds since 1970. */
  readonly finished: number;
}

/** Undefined: a backup leads there; else why none does, or why that could not be looked. */
type Verdict = string | HelvinoError | undefined;

/** Transactions that are judged at a time, and so backups that are read. */
const readers = 4;
/** The server, the host that takes backups and the store have clocks of their own. */
const slackMs = 600_000;

export class Reaches {
  readonly #options: ReachesOptions;
  readonly #ranges: readonly LedgerRange[];
  readonly #ends = new Map<string, Promise<BackupEnd | HelvinoError | undefined>>();
  /** The store is away: no other backup is asked for. */
  #away: HelvinoError | undefined;

  constructor(options: ReachesOptions) {
    this.#options = options;
    this.#ranges = withoutDamage(continuousRanges(options.pieces), options.gaps);
  }

  /** In the same order. Reads no more backups than are needed. */
  async judge<T extends Place>(places: readonly T[], newest: number): Promise<(T & Judged)[]> {
    const { histories, unknownLines } = this.#options;
    const paths = new Map(
      [...new Set([newest, ...places.map(({ timeline }) => timeline)])].map((line) => [
        line,
        pathOf(line, histories),
      ]),
    );
    const names = places.length === 0 ? [] : await this.#names();
    const judge = async (place: T) => {
      const isPast = timelineAt(paths.get(newest)!, place.lsn) !== place.timeline;
      const to = isPast ? place.timeline : newest;
      const verdict = await this.#verdict(names, place, paths.get(to)!);
      const isKnown = typeof verdict === 'string' && !unknownLines.has(to);
      return { verdict, judged: { ...place, isPast, unreachable: isKnown ? verdict : undefined } };
    };
    const judged: (T & Judged)[] = [];
    const failures: HelvinoError[] = [];
    for await (const one of mapParallel(places, readers, judge)) {
      judged.push(one.judged);
      if (one.verdict instanceof HelvinoError) failures.push(one.verdict);
    }
    this.#tell(failures);
    return judged;
  }

  #tell([first, ...others]: readonly HelvinoError[]): void {
    if (first === undefined) return;
    const which = plural(others.length + 1, 'transaction');
    this.#options.progress.note(
      'warn',
      `whether a backup leads to just before ${which} of these could not be looked up: ${first.message}; ${first.hint}`,
    );
  }

  /** Newest first. */
  async #names(): Promise<Known[]> {
    const { repository, database } = this.#options;
    const names = await repository.backups(database);
    // One that does not tell is asked itself.
    const beganAt = (id: string) => backupIdTime(id)?.getTime() ?? Number.NEGATIVE_INFINITY;
    return names.reverse().map((name) => ({ ...name, began: beganAt(name.id) }));
  }

  async #verdict(names: readonly Known[], place: Place, path: readonly PathStep[]): Promise<Verdict> {
    // What began after it did not end before it.
    const latest = place.time / 1000 + slackMs;
    const found = names.findIndex(({ began }) => began <= latest);
    for (let first = found < 0 ? names.length : found; ; first--) {
      const verdict = await this.#verdictFrom(names, first, { place, path });
      if (typeof verdict !== 'string' || first === 0) return verdict;
      // Unless clocks differ by more: then the one that began next ended before it, too.
      const next = await this.#endOf(names[first - 1]!);
      if (next instanceof HelvinoError) return next;
      if (next === undefined || next.from > place.lsn || !pathFrom(path, next.timeline, next.from))
        return verdict;
    }
  }

  /** By one backup and all that began before it. */
  async #verdictFrom(
    names: readonly Known[],
    first: number,
    { place, path }: { place: Place; path: readonly PathStep[] },
  ): Promise<Verdict> {
    /** The newest that ended before it, and before a gap; `later`: how much later the store's clock is than its host's. */
    let short: { began: number; later: number; why: string } | undefined;
    let failure: HelvinoError | undefined;
    for (let i = first; i < names.length; i++) {
      const name = names[i]!;
      // An older one ended behind the gap only if it was still running then.
      if (short !== undefined && name.committed.getTime() - short.later < short.began - slackMs) continue;
      const backup = await this.#endOf(name);
      if (backup instanceof HelvinoError) failure ??= backup;
      if (backup === undefined || backup instanceof HelvinoError) continue;
      // It was not, whatever the store says: in a copy, objects are as old as the copy.
      if (short !== undefined && backup.finished < short.began - slackMs) break;
      const reach = backup.from > place.lsn ? undefined : this.#reachOf(backup, path);
      if (reach === undefined) continue;
      if (place.end <= reach) return undefined;
      short ??= {
        began: name.began,
        later: name.committed.getTime() - backup.finished,
        why: `from the backup before it, ${name.id}, stored WAL leads to ${formatLsn(reach)} only`,
      };
    }
    return failure ?? short?.why ?? noBackup;
  }

  /** Undefined: of another kind, or lost. An error: whether it is there and whole is not known. */
  #endOf({ database, id }: BackupName): Promise<BackupEnd | HelvinoError | undefined> {
    this.#options.signal.throwIfAborted();
    let end = this.#ends.get(id);
    if (end === undefined) {
      end = this.#away ? Promise.resolve(this.#away) : this.#readEnd(database, id);
      this.#ends.set(id, end);
    }
    return end;
  }

  async #readEnd(database: string, id: string): Promise<BackupEnd | HelvinoError | undefined> {
    try {
      return endOf(await this.#options.repository.summary(database, id));
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError) || thrown.code === 'INTERRUPTED') throw thrown;
      if (lost.has(thrown.code)) return undefined;
      if (thrown.code === 'STORAGE_UNAVAILABLE') this.#away = thrown;
      return thrown;
    }
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

/** No restore can take such a backup either. */
const lost: ReadonlySet<string> = new Set(['REPOSITORY_DAMAGED', 'BACKUP_NOT_FOUND', 'STORAGE_NOT_FOUND']);

/** Throws REPOSITORY_DAMAGED. */
function endOf(summary: ManifestSummary): BackupEnd | undefined {
  const facts = physicalFacts(summary);
  if (!facts) return undefined;
  const from = parseLsn(facts.walEnd);
  const begin = walSegmentBegin(from, facts.walSegmentSize);
  return { timeline: facts.timeline, from, begin, finished: Date.parse(summary.finished) };
}
