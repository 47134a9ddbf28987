/** What the log sealer and its workers say to each other. */
import type { SealKeys } from './log-store.ts';

export interface SealLogJob {
  readonly job: number;
  readonly name: string;
  /** All of its memory, which is handed over, and back with the answer. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly keys: SealKeys;
}

export interface FromLogSealer {
  readonly job: number;
  readonly sealed: Uint8Array<ArrayBuffer>;
  readonly bytes: Uint8Array<ArrayBuffer>;
}
