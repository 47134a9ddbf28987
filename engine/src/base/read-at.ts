import { readSync } from 'node:fs';

/** Fills `into` from `offset` on; how many bytes there were. A read may return less than there is; only the end of the file leaves the rest. */
export function readAt(fd: number, into: Uint8Array, offset: number): number {
  let got = 0;
  while (got < into.length) {
    const more = readSync(fd, into, got, into.length - got, offset + got);
    if (more === 0) break;
    got += more;
  }
  return got;
}
