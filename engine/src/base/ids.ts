/** The only door to randomness for names. */
import { randomBytes } from 'node:crypto';

/** `bytes` random bytes as lower-case hexadecimal. */
export function randomHex(bytes: number): string {
  return randomBytes(bytes).toString('hex');
}

/** A backup's name: UTC time to the second and four random bytes, e.g. `20261125T120302Z-9f3a01bc`; sorts by time. */
export function backupId(now: Date): string {
  return `${now.toISOString().replace(/[-:]|\.\d+/g, '')}-${randomHex(4)}`;
}
