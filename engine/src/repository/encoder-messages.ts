/** What the encoder pool and its workers say to each other. Bulk data is in shared memory; messages carry references. */
import type { PlacedChunk } from './pack-builder.ts';
import type { PackIdentity } from './pack-format.ts';

export interface EncoderKeys {
  readonly type: 'keys';
  readonly identity: Omit<PackIdentity, 'id'>;
  readonly key: Uint8Array;
  readonly catalogKey: Uint8Array;
  readonly contentKey: Uint8Array;
}

export interface EncodeJob {
  readonly type: 'job';
  readonly job: number;
  readonly slot: number;
  /** In order, from the slot's begin; `old` is the content hash that the same place had in the parent backup. */
  readonly segments: readonly { readonly length: number; readonly old?: Uint8Array }[];
}

/** `keys` once, before all others. */
export type ToEncoder =
  | EncoderKeys
  | EncodeJob
  | { readonly type: 'buffer'; readonly buffer: number; readonly packId: string }
  | { readonly type: 'flush' };

export interface SegmentResult {
  readonly kind: 'new' | 'same' | 'zero';
  /** For `new`: where the segment begins in the chunk. */
  readonly start: number;
  readonly hash?: Uint8Array;
}

export type FromEncoder =
  | {
      readonly type: 'done';
      readonly job: number;
      readonly slot: number;
      readonly packId: string;
      /** Undefined when no segment was new. */
      readonly placed: PlacedChunk | undefined;
      readonly results: readonly SegmentResult[];
    }
  | {
      readonly type: 'packed';
      readonly buffer: number;
      readonly packId: string;
      readonly length: number;
      readonly directory: Uint8Array;
    }
  | { readonly type: 'flushed' };
