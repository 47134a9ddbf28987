/** What WAL is stored, where it has gaps, and to which positions that lets each backup be recovered. */

import {
  continuousRanges,
  damagedEnds,
  type LedgerGap,
  type LedgerRange,
  pathFrom,
  physicalFacts,
  type RecordedGap,
  reachAlong,
  withoutDamage,
} from '../../catalog/index.ts';
import { formatLsn, parseLsn, walSegmentBegin } from '../../postgres/index.ts';
import { type LogPiece, LogPieces, logFiles, type Repository } from '../../repository/index.ts';
import { gapsAlong, gapWords, recordedGaps } from './gaps.ts';
import { pathOf } from './path-of.ts';
import { type RivalTimeline, rivalTimelines } from './rival-timelines.ts';

export interface WalStatus {
  readonly ranges: readonly { timeline: number; from: string; to: string; bytes: number }[];
  /**
   * By backup, oldest first: from its own end to where stored WAL leads, along the newest timeline as `restore --to` goes; of a backup
   * that does not lead there, to the furthest.
   */
  readonly windows: readonly { backup: string; timeline: number; from: string; to: string }[];
  readonly gaps: readonly WalGap[];
  /** Timelines that went on beside the newest, and where they parted: recovery goes along the newest if none is asked for. */
  readonly rivals: readonly RivalTimeline[];
  /** How far each timeline is stored, whatever is missing before; in order. */
  readonly ends: readonly { timeline: number; to: string }[];
  readonly pieces: number;
  /** Bytes stored. */
  readonly size: number;
  /** When the newest piece was stored, by the store's clock; ISO 8601. */
  readonly newest: string | undefined;
}

export interface WalGap {
  readonly timeline: number;
  readonly from: string;
  readonly to: string;
  readonly reason: LedgerGap['reason'];
  /** For people. */
  readonly why: string;
  /** When it was found, ISO 8601; undefined when the reason is not known. */
  readonly time: string | undefined;
  /** The first backup after it, which closes it: with that one nothing before it is needed. Undefined: it is open. */
  readonly closedBy: string | undefined;
}

export async function walStatus(repository: Repository, database: string): Promise<WalStatus> {
  const pieces = await LogPieces.read(repository.driver, database);
  const recorded = await recordedGaps(repository, database);
  const ranges = withoutDamage(continuousRanges(pieces), recorded);
  const { ends, newest } = endsOf(pieces);
  let bytes = 0;
  for (const { size } of pieces) bytes += size;
  const histories = await logFiles(repository, database);
  const newestLine = ranges.at(-1)?.line ?? 0;
  const found = await windows(repository, database, { ranges, histories, newest: newestLine });
  return {
    gaps: await gapsOf(repository, database, { ranges, recorded, ends, windows: found }),
    ranges: ranges.map(({ line, begin, end }) => ({
      timeline: line,
      from: formatLsn(begin),
      to: formatLsn(end),
      bytes: Number(end - begin),
    })),
    windows: found,
    rivals: rivalTimelines(pathOf(newestLine, histories), ranges, histories),
    ends: [...ends].map(([timeline, end]) => ({ timeline, to: formatLsn(end) })),
    pieces: pieces.length,
    size: bytes,
    newest: newest?.toISOString(),
  };
}

/** How far each timeline is stored, and when the newest piece was; undefined: nothing is. */
export function endsOf(pieces: Iterable<Pick<LogPiece, 'line' | 'end' | 'stored'>>): {
  ends: Map<number, bigint>;
  newest: Date | undefined;
} {
  const ends = new Map<number, bigint>();
  let newest: Date | undefined;
  for (const { line, end, stored } of pieces) {
    if (end > (ends.get(line) ?? 0n)) ends.set(line, end);
    if (newest === undefined || stored > newest) newest = stored;
  }
  return { ends, newest };
}

async function gapsOf(
  repository: Repository,
  database: string,
  {
    ranges,
    recorded,
    ends,
    windows,
  }: {
    ranges: readonly LedgerRange[];
    recorded: readonly RecordedGap[];
    ends: ReadonlyMap<number, bigint>;
    windows: WalStatus['windows'];
  },
): Promise<WalGap[]> {
  const between = await gapsAlong(repository, database, { ranges, recorded });
  const gaps = [...between, ...damagedEnds(ranges, recorded, ends)];
  return gaps.map((gap) => ({
    timeline: gap.line,
    from: formatLsn(gap.begin),
    to: formatLsn(gap.end),
    reason: gap.reason,
    why: gapWords[gap.reason],
    time: gap.time,
    closedBy: windows.find((window) => window.timeline >= gap.line && parseLsn(window.from) >= gap.end)
      ?.backup,
  }));
}

async function windows(
  repository: Repository,
  database: string,
  {
    ranges,
    histories,
    newest,
  }: { ranges: readonly LedgerRange[]; histories: ReadonlyMap<string, Uint8Array>; newest: number },
): Promise<WalStatus['windows']> {
  const lines = [...new Set(ranges.map(({ line }) => line))];
  const found: { backup: string; timeline: number; from: string; to: string }[] = [];
  for (const name of await repository.backups(database)) {
    const manifest = await repository.summary(database, name.id).catch(() => undefined);
    if (!manifest) continue;
    const facts = physicalFacts(manifest);
    if (!facts) continue;
    const from = parseLsn(facts.walEnd);
    const begin = walSegmentBegin(from, facts.walSegmentSize);
    const reachOn = (timeline: number) => {
      const path = pathFrom(pathOf(timeline, histories), facts.timeline, from);
      return path && reachAlong(ranges, path, begin);
    };
    const own = { timeline: facts.timeline, position: from };
    const along = reachOn(newest);
    const reach = furthest(own, along ? [along] : lines.map(reachOn));
    found.push({
      backup: manifest.id,
      timeline: reach.timeline,
      from: facts.walEnd,
      to: formatLsn(reach.position),
    });
  }
  return found;
}

interface Reach {
  readonly timeline: number;
  readonly position: bigint;
}

/** Of those that reach as far the last. */
function furthest(own: Reach, others: readonly (Reach | undefined)[]): Reach {
  let best = own;
  for (const reach of others) if (reach && reach.position >= best.position) best = reach;
  return best;
}
