/** Who writes a temporary file, in its name, so that what a crash left can be told from what is being written. */
import { createHash } from 'node:crypto';
import { randomHex } from '../base/ids.ts';
import { isGone, processPlace, startTime } from '../base/process-state.ts';

/** `<pid>-<start time>-<place>`: a process number alone is used again. */
export function thisWriter(): string {
  return `${process.pid}-${startTime(process.pid) ?? '0'}-${place()}`;
}

export function temporaryName(writer: string): string {
  return `${writer}-${randomHex(8)}`;
}

/**
 * `dead`: it ran on this host, this boot and in this process namespace, and is gone. `unknown`: it runs or ran somewhere
 * else, or the name is not one of ours.
 */
export function writerState(name: string): 'alive' | 'dead' | 'unknown' {
  const match = /^(\d+)-(\d+)-([0-9a-f]{16})(?:-|$)/.exec(name);
  if (match === null || match[3] !== place()) return 'unknown';
  const pid = Number(match[1]);
  if (isGone(pid)) return 'dead';
  return (startTime(pid) ?? match[2]) === match[2] ? 'alive' : 'dead';
}

let knownPlace: string | undefined;

/** Short enough for a name. */
function place(): string {
  knownPlace ??= createHash('sha256').update(processPlace()).digest('hex').slice(0, 16);
  return knownPlace;
}
