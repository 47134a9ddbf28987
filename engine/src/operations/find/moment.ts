/** A moment as people write it, for searching. */
import { HelvinoError } from '../../base/errors.ts';
import { parseTarget } from '../restore/target-words.ts';

/** Microseconds since 1970. Days are those of the local zone. Throws USAGE. */
export function parseMoment(text: string, now: Date): number {
  const words = text.trim().toLowerCase();
  if (words === 'now') return now.getTime() * 1000;
  if (words === 'today' || words === 'yesterday') {
    const date = now.getDate() - (words === 'yesterday' ? 1 : 0);
    return new Date(now.getFullYear(), now.getMonth(), date).getTime() * 1000;
  }
  const day = /^(\d{4})-(\d{2})-(\d{2})$/.exec(words);
  if (day) return dayBegin(text, day.slice(1).map(Number) as [number, number, number]);
  const target = parseTarget(text, now);
  if (target.kind === 'time') return Number(target.time);
  throw new HelvinoError('USAGE', `"${text}" is not a time`, {
    hint: 'today, yesterday, "2 hours ago", or a time with its zone (2026-11-25 14:03:00+01)',
  });
}

/** Midnight of the local zone. */
function dayBegin(text: string, [year, month, day]: [number, number, number]): number {
  const date = new Date(year, month - 1, day);
  if (date.getMonth() !== month - 1 || date.getDate() !== day)
    throw new HelvinoError('USAGE', `there is no day "${text}"`);
  return date.getTime() * 1000;
}
