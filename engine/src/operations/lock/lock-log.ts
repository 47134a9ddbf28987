/**
 * Object lock over stored WAL. The window of recovery begins so long ago as `retention.pitr` says, and what leads there from
 * the last backup before it is needed, too: so a piece is needed until the next backup after it is as old as the window is
 * long, and without a next one for that long from now on. For each piece that retention keeps the store is asked once, and
 * told only where the lock ends too soon.
 */
import { fewestPieces, physicalFacts } from '../../catalog/index.ts';
import { parseLsn, walSegmentBegin } from '../../postgres/index.ts';
import { type LogPiece, retainLog } from '../../repository/index.ts';
import type { RetentionPlan } from '../retention/plan.ts';
import type { LockOptions } from './extend-lock.ts';

export interface LockedLog {
  /** Those that lie inside longer ones are not counted, nor parts that are soon replaced. */
  readonly pieces: number;
  /** The latest; undefined where no WAL is locked. */
  readonly until: Date | undefined;
}

/** A part of the open segment is soon replaced by the whole. */
const settledMs = 3_600_000;

interface Start {
  /** Bytes. */
  readonly segment: number;
  readonly timeline: number;
  readonly begin: bigint;
  readonly made: number;
}

export async function lockLog(options: LockOptions, plan: RetentionPlan): Promise<LockedLog> {
  const { repository, database, settings, progress, signal } = options;
  const pitrMs = settings.retention.pitr * 1000;
  const starts = await startsOf(options, plan);
  const now = plan.now.getTime();
  const untilOf = ({ line, end }: LogPiece) => {
    const next = starts.find(({ timeline, begin }) => timeline > line || (timeline === line && begin >= end));
    return new Date((next?.made ?? now) + pitrMs);
  };
  let pieces = 0;
  let latest: Date | undefined;
  function* due(): Generator<{ name: string; until: Date }, void, void> {
    for (const piece of fewestPieces(plan.log.keep)) {
      signal.throwIfAborted();
      const until = untilOf(piece);
      const isPart = Number(piece.end - piece.begin) < (starts[0]?.segment ?? 0);
      if (until.getTime() <= now || (isPart && now - piece.stored.getTime() < settledMs)) continue;
      pieces++;
      if (latest === undefined || until > latest) latest = until;
      progress.advance(1);
      yield { name: piece.name, until };
    }
  }
  progress.phase('extending object lock over WAL', plan.log.keptPieces, 'items');
  if (options.dryRun) for (const _ of due());
  else await retainLog(repository.driver, { database, pieces: due(), until: new Date(now + pitrMs) });
  return { pieces, until: latest };
}

/** The good ones that are kept, oldest first: where recovery from each begins. */
async function startsOf({ repository, database }: LockOptions, plan: RetentionPlan): Promise<Start[]> {
  const starts: Start[] = [];
  for (const { kind, decisions } of plan.kinds) {
    if (kind !== 'physical') continue;
    for (const { id, made, action, state } of decisions) {
      if (action !== 'keep' || state !== 'good') continue;
      const facts = physicalFacts(await repository.summary(database, id));
      if (!facts) continue;
      const begin = walSegmentBegin(parseLsn(facts.walEnd), facts.walSegmentSize);
      starts.push({ segment: facts.walSegmentSize, timeline: facts.timeline, begin, made: made.getTime() });
    }
  }
  return starts.sort((a, b) => a.made - b.made);
}
