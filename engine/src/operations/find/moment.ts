/** A moment as people write it, for searching. */
import { HelvinoError } from '../../base/errors.ts';
import { parseTarget } from '../restore/target-words.ts';

/** Microseconds since 1970. Days are those of the local zone. Throws USAGE. */
export function parseMoment(text: string, now: Date): number {
  const words = text.trim().toLowerCase();
  if (words === 'now') return now.getTime() * 1000;
  if (words === 'today' || words === 'yesterday') {
    const day = now.getDate() - (words === 'yesterday' ? 1 : 0);
    return new Date(now.getFullYear(), now.getMonth(), day).getTime() * 1000;
  }
  const target = parseTarget(text, now);
  if (target.kind === 'time') return Number(target.time);
  throw new HelvinoError('USAGE', `"${text}" is not a time`, {
    hint: 'today, yesterday, "2 hours ago", or a time with its zone (2026-11-25 14:03:00+01)',
  });
}
