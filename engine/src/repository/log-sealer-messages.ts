/** What the log sealer and its workers say to each other. */
import type { SealKeys } from './log-store.ts';

export interface SealLogJob {
  readonly job: number;
  readonly name: string;
  /** Shared memory: read there, and not written here meanwhile. */
  readonly bytes: Uint8Array<SharedArrayBuffer>;
  readonly keys: SealKeys;
  /** Where the sealed bytes go; with room for the longest. */
  readonly memory: SharedArrayBuffer;
}

export interface FromLogSealer {
  readonly job: number;
  /** Of the sealed bytes. */
  readonly length: number;
}
