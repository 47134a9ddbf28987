/** The only door to randomness for names. */
import { randomBytes } from 'node:crypto';

/** `bytes` random bytes as lower-case hexadecimal. */
export function randomHex(bytes: number): string {
  return randomBytes(bytes).toString('hex');
}

/**
 * A backup's name: UTC time to the second, then the millisecond (three hexadecimal digits) and twenty random bits, e.g.
 * `20261125T120302Z-1f4a01bc`; sorts by time.
 */
export function backupId(now: Date): string {
  const millisecond = now.getUTCMilliseconds().toString(16).padStart(3, '0');
  return `${now.toISOString().replace(/[-:]|\.\d+/g, '')}-${millisecond}${randomHex(3).slice(1)}`;
}
