/** Calendar periods in a time zone: which day, week, month and year a moment belongs to. Pure. */

export type PeriodKind = 'daily' | 'weekly' | 'monthly' | 'yearly';
export const periodKinds: readonly PeriodKind[] = ['daily', 'weekly', 'monthly', 'yearly'];

export interface Period {
  /** Consecutive periods of a kind have consecutive numbers. */
  readonly number: number;
  /** `2026-11-25`, `2026-W48` (ISO 8601: weeks begin on Monday), `2026-11`, `2026`. */
  readonly name: string;
}

export type Periods = Readonly<Record<PeriodKind, Period>>;

const dayMs = 86_400_000;

/** A function from moments to their periods in `timeZone` (an IANA name). Throws RangeError for an unknown zone. */
export function periodsIn(timeZone: string): (time: Date) => Periods {
  const format = new Intl.DateTimeFormat('en-CA', {
    timeZone,
    calendar: 'iso8601',
    numberingSystem: 'latn',
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
  });
  const known = new Map<number, Periods>();
  return (time) => {
    const found = known.get(time.getTime());
    if (found) return found;
    const parts = format.formatToParts(time);
    const part = (type: string) => Number(parts.find((p) => p.type === type)?.value);
    const periods = periodsOf(part('year'), part('month'), part('day'));
    known.set(time.getTime(), periods);
    return periods;
  };
}

function periodsOf(year: number, month: number, day: number): Periods {
  const two = (n: number) => String(n).padStart(2, '0');
  const dayNumber = Date.UTC(year, month - 1, day) / dayMs;
  return {
    daily: { number: dayNumber, name: `${year}-${two(month)}-${two(day)}` },
    weekly: week(dayNumber),
    monthly: { number: year * 12 + month - 1, name: `${year}-${two(month)}` },
    yearly: { number: year, name: String(year) },
  };
}

/** The year of an ISO week is that of its Thursday; day 0 was a Thursday. */
function week(dayNumber: number): Period {
  const number = Math.floor((dayNumber + 3) / 7);
  const thursday = number * 7;
  const year = new Date(thursday * dayMs).getUTCFullYear();
  const inYear = Math.floor((thursday - Date.UTC(year, 0, 1) / dayMs) / 7) + 1;
  return { number, name: `${year}-W${String(inYear).padStart(2, '0')}` };
}
