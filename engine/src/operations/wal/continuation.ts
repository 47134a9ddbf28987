/** Where a stream goes on after what is stored. Pure. */
import { continuousRanges, type LedgerPiece, type RecordedGap } from '../../catalog/index.ts';
import type { TimelineSwitch } from '../../postgres/index.ts';

/** Several segments are stored at a time: one that could not be is no further behind the end than so many bytes, or segments. */
const mostBehind = { bytes: 64n << 20n, segments: 5n };

/**
 * The end of what is stored of a timeline, or the begin of a hole shortly before it: there a segment could not be stored, and
 * later ones were. The server may still have it. A hole that is recorded is lost for good.
 */
export function reliableEnd(
  pieces: Iterable<LedgerPiece>,
  { segmentSize, gaps }: { segmentSize: number; gaps: readonly RecordedGap[] },
): bigint {
  const ranges = continuousRanges(pieces);
  const last = ranges.pop();
  if (last === undefined) return 0n;
  const { line } = last;
  const segments = mostBehind.segments * BigInt(segmentSize);
  const oldest = last.end - (segments > mostBehind.bytes ? segments : mostBehind.bytes);
  let { begin, end } = last;
  for (const range of ranges.reverse()) {
    const isLost = gaps.some(
      (gap) => gap.timeline <= line && line <= gap.toTimeline && gap.from < begin && gap.to > range.end,
    );
    if (isLost || range.end < oldest) break;
    begin = range.begin;
    end = range.end;
  }
  return end;
}

export interface Continuation {
  readonly timeline: number;
  readonly start: bigint;
  /** WAL that is not stored, and that the slot does not keep: the server may have it all the same. */
  readonly gap?: { readonly timeline: number; readonly from: bigint; readonly to: bigint };
}

/**
 * `history`: how the server's timeline came about; `restart`: from where on its slot keeps WAL.
 * What is stored may be of a timeline that the server has left, or of one that it never was on (a restore to an earlier
 * time): then the stream begins with the server's own timeline, at the point where it left the common one. What was stored behind
 * a segment that could not be is not to be relied on: the slot keeps WAL from what was confirmed on, and so the stream goes back
 * to there. Pieces that are there already are compared, and stored once.
 */
export function continuation(place: {
  timeline: number;
  history: readonly TimelineSwitch[];
  last: { timeline: number; end: bigint } | undefined;
  restart: bigint;
}): Continuation {
  const { timeline, history, last, restart } = place;
  if (last === undefined) return { timeline, start: restart };
  const left = history.find((entry) => entry.timeline === last.timeline);
  const onCourse = last.timeline === timeline || (left !== undefined && last.end <= left.switchLsn);
  const from = onCourse ? last.end : (history.at(-1)?.switchLsn ?? restart);
  const on = onCourse ? last.timeline : timeline;
  if (restart > from) return { timeline, start: restart, gap: { timeline: on, from, to: restart } };
  const confirmed = later(restart, beginOf(on, history));
  if (confirmed < from) return { timeline: on, start: confirmed };
  return { timeline: on, start: from };
}

/** Where a timeline that the server is or was on left the one before. */
function beginOf(timeline: number, history: readonly TimelineSwitch[]): bigint {
  return history.filter((entry) => entry.timeline < timeline).at(-1)?.switchLsn ?? 0n;
}

function later(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
