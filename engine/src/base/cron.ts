/**
 * Schedules as cron writes them: minute, hour, day of the month, month, day of the week; `*`, lists, ranges and steps, and the
 * short names (`@daily`). https://man7.org/linux/man-pages/man5/crontab.5.html
 */
import { HelvinoError } from './errors.ts';

export interface Cron {
  readonly minutes: ReadonlySet<number>;
  readonly hours: ReadonlySet<number>;
  readonly days: ReadonlySet<number>;
  readonly months: ReadonlySet<number>;
  /** 0 is Sunday. */
  readonly weekdays: ReadonlySet<number>;
  /** With both days given, one that fits either is meant. */
  readonly eitherDay: boolean;
}

const short: Readonly<Record<string, string>> = {
  '@hourly': '0 * * * *',
  '@daily': '0 0 * * *',
  '@weekly': '0 0 * * 0',
  '@monthly': '0 0 1 * *',
  '@yearly': '0 0 1 1 *',
};
const monthNames = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const weekdayNames = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];

/** Throws CONFIG_INVALID. */
export function parseCron(text: string): Cron {
  const fields = (short[text.trim().toLowerCase()] ?? text).trim().split(/\s+/);
  if (fields.length !== 5)
    throw new HelvinoError('CONFIG_INVALID', `"${text}" is no schedule`, {
      hint: 'five fields: minute, hour, day of the month, month, day of the week: 0 5 1 * *; or @daily, @weekly, @monthly',
    });
  const [minute = '', hour = '', day = '', month = '', weekday = ''] = fields;
  const cron = {
    minutes: valuesOf(minute, { from: 0, to: 59 }),
    hours: valuesOf(hour, { from: 0, to: 23 }),
    days: valuesOf(day, { from: 1, to: 31 }),
    months: valuesOf(month, { from: 1, to: 12, names: monthNames }),
    weekdays: new Set([...valuesOf(weekday, { from: 0, to: 7, names: weekdayNames })].map((n) => n % 7)),
    eitherDay: !day.startsWith('*') && !weekday.startsWith('*'),
  };
  const longest = Math.max(...[...cron.months].map((one) => new Date(Date.UTC(2024, one, 0)).getUTCDate()));
  if (!cron.eitherDay && Math.min(...cron.days) > longest)
    throw new HelvinoError('CONFIG_INVALID', `"${text}" never comes: no such month has ${day} days`);
  return cron;
}

interface Field {
  readonly from: number;
  readonly to: number;
  readonly names?: readonly string[];
}

function valuesOf(text: string, field: Field): Set<number> {
  const values = new Set<number>();
  for (const part of text.split(',')) {
    const match = /^(?:\*|([a-z0-9]+)(?:-([a-z0-9]+))?)(?:\/(\d+))?$/i.exec(part);
    const step = Number(match?.[3] ?? 1);
    const first = match?.[1] === undefined ? field.from : numberOf(match[1], field);
    // `5/10` goes on to the end.
    const open = match?.[1] === undefined || (match[2] === undefined && match[3] !== undefined);
    const last = open ? field.to : numberOf(match?.[2] ?? match?.[1] ?? '', field);
    if (!match || step < 1 || !(field.from <= first && first <= last && last <= field.to))
      throw new HelvinoError(
        'CONFIG_INVALID',
        `"${part}" in a schedule is not in ${field.from} to ${field.to}`,
      );
    for (let value = first; value <= last; value += step) values.add(value);
  }
  return values;
}

function numberOf(word: string, { from, names }: Field): number {
  const at = names?.indexOf(word.toLowerCase()) ?? -1;
  if (at >= 0) return at + from;
  return /^\d+$/.test(word) ? Number(word) : Number.NaN;
}

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
/** No schedule that can come at all takes longer: 29 February on a given day of the week. */
const yearsAhead = 40;

/** The first time after `after` on the clocks of `timeZone`; a time that clocks leave out is passed over. */
export function nextTime(cron: Cron, after: Date, timeZone: string): Date | undefined {
  const format = new Intl.DateTimeFormat('en-GB', {
    timeZone,
    hourCycle: 'h23',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    weekday: 'short',
  });
  const end = after.getTime() + yearsAhead * 366 * 24 * hourMs;
  let at = Math.floor(after.getTime() / minuteMs) * minuteMs + minuteMs;
  while (at < end) {
    const parts = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, value]));
    const hour = Number(parts.hour);
    const minute = Number(parts.minute);
    if (!dayFits(cron, parts)) {
      // To the next midnight, but not over one where clocks change on the way: hour by hour then.
      at += hour < 22 ? (22 - hour) * hourMs - minute * minuteMs : minuteMs * (60 - minute);
    } else if (!cron.hours.has(hour)) at += minuteMs * (60 - minute);
    else if (cron.minutes.has(minute)) return new Date(at);
    else at += minuteMs;
  }
  return undefined;
}

function dayFits(cron: Cron, parts: Readonly<Record<string, string>>): boolean {
  if (!cron.months.has(Number(parts.month))) return false;
  const day = cron.days.has(Number(parts.day));
  const weekday = cron.weekdays.has(weekdayNames.indexOf((parts.weekday ?? '').toLowerCase()));
  return cron.eitherDay ? day || weekday : day && weekday;
}
