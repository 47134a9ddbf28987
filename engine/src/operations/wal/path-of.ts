/** Which timelines lead to one, as the stored history files say. */
import { type PathStep, pathTo } from '../../catalog/index.ts';
import { parseTimelineHistory, timelineHistoryName } from '../../postgres/index.ts';

/** `histories`: by name; timeline 1 has none. */
export function pathOf(timeline: number, histories: ReadonlyMap<string, Uint8Array>): PathStep[] {
  const history = histories.get(timelineHistoryName(timeline));
  return pathTo(timeline, history ? parseTimelineHistory(history) : []);
}
