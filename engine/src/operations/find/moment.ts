/** A moment as people write it, for searching. */
import { HelvinoError } from '../../base/errors.ts';
import { ago, parseTarget } from '../restore/target-words.ts';

/** Microseconds since 1970. Days are those of the local zone; `of` says which end of a day is meant. Throws USAGE. */
export function parseMoment(text: string, now: Date, of: 'begin' | 'end' = 'begin'): number {
  const words = text.trim().toLowerCase();
  if (words === 'now') return now.getTime() * 1000;
  if (words === 'today' || words === 'yesterday') {
    const date = now.getDate() - (words === 'yesterday' ? 1 : 0);
    return edgeOf([now.getFullYear(), now.getMonth(), date], of);
  }
  const day = /^(\d{4})-(\d{2})-(\d{2})$/.exec(words);
  if (day) return edgeOf(wholeDay(text, day.slice(1).map(Number) as Day), of);
  // What looks like a time is told what is wrong with it as a target of recovery is.
  const isTime = /^\d{4}-\d{2}-\d{2}[ t]\d/.test(words) || ago.test(words);
  const target = isTime ? parseTarget(text, now) : undefined;
  if (target?.kind === 'time') return Number(target.time);
  throw new HelvinoError('USAGE', `"${text}" is not a time`, {
    hint: 'today, yesterday, a day (2026-11-25), "2 hours ago", or a time with its zone (2026-11-25 14:03:00+01)',
  });
}

/** Year, month, date. */
type Day = [number, number, number];

/** Midnight of the local zone, or the last microsecond before the next one. */
function edgeOf([year, month, date]: Day, of: 'begin' | 'end'): number {
  if (of === 'begin') return new Date(year, month, date).getTime() * 1000;
  return new Date(year, month, date + 1).getTime() * 1000 - 1;
}

/** With the month counted from 0, as Date does. */
function wholeDay(text: string, [year, month, day]: Day): Day {
  const date = new Date(year, month - 1, day);
  if (date.getMonth() !== month - 1 || date.getDate() !== day)
    throw new HelvinoError('USAGE', `there is no day "${text}"`);
  return [year, month - 1, day];
}
