/**
 * Timeline history files: a line for each timeline that was left: number, where, why.
 * https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-TIMELINES
 */
import { HelvinoError } from '../base/errors.ts';
import { parseLsn } from './lsn.ts';

export interface TimelineSwitch {
  /** The timeline that was left. */
  readonly timeline: number;
  readonly switchLsn: bigint;
}

/** Oldest first. Throws PROTOCOL. */
export function parseTimelineHistory(bytes: Uint8Array): TimelineSwitch[] {
  const switches: TimelineSwitch[] = [];
  for (const line of Buffer.from(bytes).toString('utf8').split('\n')) {
    const text = line.trim();
    if (text === '' || text.startsWith('#')) continue;
    const match = /^(\d{1,10})\s+([0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8})/.exec(text);
    const timeline = Number(match?.[1]);
    if (!match?.[2] || timeline <= (switches.at(-1)?.timeline ?? 0)) {
      throw new HelvinoError('PROTOCOL', `"${text}" is not a line of a timeline history`);
    }
    switches.push({ timeline, switchLsn: parseLsn(match[2].toUpperCase()) });
  }
  return switches;
}
