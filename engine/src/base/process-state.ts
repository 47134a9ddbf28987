/** Which process of which host, and whether it still does anything. */
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { systemCode } from './errors.ts';
import { randomHex } from './ids.ts';

/** True also of one that was killed and that its parent has not waited for: it has a number, and nothing more. */
export function isGone(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (thrown) {
    return systemCode(thrown) === 'ESRCH';
  }
  return ['Z', 'X'].includes(processFields(pid)?.[0] ?? '');
}

/** The fields of /proc/<pid>/stat from the third on, which is the state, proc(5). Undefined where there is no such file. */
export function processFields(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name in parentheses and may hold anything.
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** When it began, in clock ticks since boot; undefined when it is gone, or where that cannot be known. */
export function startTime(pid: number): string | undefined {
  return isGone(pid) ? undefined : processFields(pid)?.[19];
}

let knownPlace: string | undefined;

/** Host, boot and process namespace: process numbers are only comparable within one. Where none can be told, never another's. */
export function processPlace(): string {
  knownPlace ??= describePlace();
  return knownPlace;
}

function describePlace(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${hostname()}/${boot}/${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return `${hostname()}/unknown/${randomHex(8)}`;
  }
}
