/**
 * Memory for sealed pieces of a log, which is used again: where new memory is dear to find, it costs half as much as to
 * compress what goes into it. Only what is touched is there: each place has room for a segment of the usual size.
 */
import { alignedMemory } from '../base/aligned-memory.ts';

/** A segment of 16 MiB that does not compress, with what is around it. */
const usual = 17 << 20;
/** More are not kept: archive_command may have brought many at once. */
const mostFree = 6;
const free: SharedArrayBuffer[] = [];

/** At least `bytes` long; nobody else writes there until it is given back. */
export function takeMemory(bytes: number): SharedArrayBuffer {
  return bytes > usual ? new SharedArrayBuffer(bytes) : (free.pop() ?? alignedMemory(usual));
}

export function giveBack(memory: SharedArrayBuffer): void {
  if (memory.byteLength === usual && free.length < mostFree) free.push(memory);
}
