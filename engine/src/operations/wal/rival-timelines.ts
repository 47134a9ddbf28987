/**
 * Timelines that went on beside the chosen one: a former primary that did not stop, or a restored copy that archives where its source
 * does. The newest timeline is not always that of the server that counts. Pure.
 */
import type { LedgerRange, PathStep } from '../../catalog/index.ts';
import { formatLsn } from '../../postgres/index.ts';
import { pathOf } from './path-of.ts';

export interface RivalTimeline {
  readonly timeline: number;
  /** Where it and the chosen one parted. */
  readonly parted: string;
  /** How far it is stored. */
  readonly to: string;
}

export function rivalTimelines(
  path: readonly PathStep[],
  ranges: readonly LedgerRange[],
  histories: ReadonlyMap<string, Uint8Array>,
): RivalTimeline[] {
  const chosen = path.at(-1)?.timeline;
  const rivals: RivalTimeline[] = [];
  for (const timeline of new Set(ranges.map(({ line }) => line))) {
    const end = ranges.findLast(({ line }) => line === timeline)!.end;
    const parted = timeline === chosen ? undefined : partedAt(path, pathOf(timeline, histories));
    if (parted !== undefined && end > parted)
      rivals.push({ timeline, parted: formatLsn(parted), to: formatLsn(end) });
  }
  return rivals;
}

/** Where the first of two paths leaves what they share; undefined: they share nothing. */
export function partedAt(path: readonly PathStep[], other: readonly PathStep[]): bigint | undefined {
  const shared = path.findLast(({ timeline }) => other.some((step) => step.timeline === timeline));
  const ends = [shared?.until, other.find(({ timeline }) => timeline === shared?.timeline)?.until];
  return ends.filter((end) => end !== undefined).sort((a, b) => (a < b ? -1 : 1))[0];
}

/** For people, with the option that takes each. */
export function rivalChoices(rivals: readonly RivalTimeline[]): string[] {
  return rivals.map((rival) => `${rivalWords(rival)} (--timeline ${rival.timeline})`);
}

/** For people. */
export function rivalWords({ timeline, parted, to }: RivalTimeline): string {
  return `timeline ${timeline}, which went on from ${parted} to ${to}`;
}
