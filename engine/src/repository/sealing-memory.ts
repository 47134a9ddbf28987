/**
 * Memory for sealed pieces of a log, which is used again: where new memory is dear to find, it costs half as much as to
 * compress what goes into it. Only what is touched is there: each place has room for a segment of the usual size.
 */
import { alignedMemory } from '../base/aligned-memory.ts';

/** A segment of 16 MiB that does not compress, with what is around it. */
const usual = 17 << 20;
const free: SharedArrayBuffer[] = [];

/** At least `bytes` long; nobody else writes there until it is given back. */
export function takeMemory(bytes: number): SharedArrayBuffer {
  return (bytes <= usual ? free.pop() : undefined) ?? alignedMemory(Math.max(bytes, usual));
}

/** Kept are as many as were ever in use at a time. Larger ones are not. */
export function giveBack(memory: SharedArrayBuffer): void {
  if (memory.byteLength === usual) free.push(memory);
}
