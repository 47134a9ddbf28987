/** The only door to randomness for names. */
import { randomBytes } from 'node:crypto';

/** `bytes` random bytes as lower-case hexadecimal. */
export function randomHex(bytes: number): string {
  return randomBytes(bytes).toString('hex');
}

/** The beginning of ids of that second; they sort by time: `20261125T120302Z`. */
export function idStamp(time: Date): string {
  return time.toISOString().replace(/[-:]|\.\d+/g, '');
}

/**
 * A backup's name: UTC time to the second, then the millisecond (three hexadecimal digits) and twenty random bits, e.g.
 * `20261125T120302Z-1f4a01bc`; sorts by time.
 */
export function backupId(now: Date): string {
  const millisecond = now.getUTCMilliseconds().toString(16).padStart(3, '0');
  return `${idStamp(now)}-${millisecond}${randomHex(3).slice(1)}`;
}

/** When a backup began, by its name, to the second; undefined for another name. */
export function backupIdTime(id: string): Date | undefined {
  const match = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-/.exec(id);
  if (!match) return undefined;
  const [year, month, ...rest] = match.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  return new Date(Date.UTC(year, month - 1, ...rest));
}
