/** Which process holds something: so that another process on the same machine can tell at once that it is gone. */
import { isGone, processPlace } from '../base/process-state.ts';

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
