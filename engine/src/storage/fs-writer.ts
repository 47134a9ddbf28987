/** Who writes a temporary file, in its name, so that what a crash left can be told from what is being written. */
import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { randomHex } from '../base/ids.ts';
import { isGone, processFields } from '../base/process-state.ts';

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

/** Clock ticks since boot. */
function startTime(pid: number): string | undefined {
  return processFields(pid)?.[19];
}

let knownPlace: string | undefined;

/** Host, boot and process namespace: process numbers are only comparable within one. */
function place(): string {
  knownPlace ??= createHash('sha256').update(describePlace()).digest('hex').slice(0, 16);
  return knownPlace;
}

function describePlace(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${hostname()}/${boot}/${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    // Nothing tells boots apart here: never comparable, so that age alone decides.
    return `${hostname()}/${randomHex(8)}`;
  }
}
