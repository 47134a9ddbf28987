/** Which timelines lead to one, and how far stored WAL reaches along them. Pure. */
import { type LedgerRange, reachFrom } from './log-ledger.ts';

export interface PathStep {
  readonly timeline: number;
  /** Where the path leaves this timeline; undefined on the last one. */
  readonly until: bigint | undefined;
}

/** `switches`: what the history file of `timeline` says, oldest first. */
export function pathTo(
  timeline: number,
  switches: readonly { timeline: number; switchLsn: bigint }[],
): PathStep[] {
  return [
    ...switches.map((entry) => ({ timeline: entry.timeline, until: entry.switchLsn })),
    { timeline, until: undefined },
  ];
}

/** On which timeline of a path a position is. */
export function timelineAt(path: readonly PathStep[], position: bigint): number | undefined {
  return path.find(({ until }) => until === undefined || position < until)?.timeline;
}

/** The part of a path from a position of one of its timelines on; undefined when the path is not through there. */
export function pathFrom(
  path: readonly PathStep[],
  timeline: number,
  position: bigint,
): PathStep[] | undefined {
  const at = path.findIndex((step) => step.timeline === timeline);
  const step = path[at];
  if (step === undefined || (step.until !== undefined && position > step.until)) return undefined;
  return path.slice(at);
}

/** The part of a path up to a position: not the timelines that begin at it or after it. */
export function pathUntil(path: readonly PathStep[], position: bigint): PathStep[] {
  const last = path.findIndex(({ until }) => until === undefined || position <= until);
  return last < 0 ? [...path] : path.slice(0, last + 1);
}

/** How far WAL is stored without a gap along a path, from a position on its first timeline. */
export function reachAlong(
  ranges: readonly LedgerRange[],
  path: readonly PathStep[],
  from: bigint,
): { timeline: number; position: bigint } {
  let position = from;
  let on = path[0]!.timeline;
  for (const { timeline, until } of path) {
    const reach = reachFrom(ranges, timeline, position);
    if (reach === undefined) break;
    on = timeline;
    if (until === undefined || reach < until) return { timeline, position: reach };
    position = until;
  }
  return { timeline: on, position };
}
