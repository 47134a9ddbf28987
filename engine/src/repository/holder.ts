/** Which process holds something: so that another process on the same machine can tell at once that it is gone. */
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { randomHex } from '../base/ids.ts';
import { isGone } from '../base/process-state.ts';

export interface Holder {
  /** Host, boot and process namespace: process numbers are only comparable within one. */
  readonly place: string;
  readonly pid: number;
}

export function thisProcess(): Holder {
  return { place: processPlace(), pid: process.pid };
}

/** True only when the holder ran where this process runs, and its process is gone. */
export function isDead(holder: Holder | undefined): boolean {
  return holder !== undefined && holder.place === processPlace() && isGone(holder.pid);
}

function processPlace(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${hostname()}/${boot}/${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return `${hostname()}/unknown/${randomHex(8)}`;
  }
}
