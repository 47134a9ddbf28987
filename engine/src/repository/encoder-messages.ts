/** What the encoder pool and its workers say to each other. Bulk data is in shared memory; messages carry references. */
import type { PlacedChunk } from './pack-builder.ts';
import type { PackIdentity } from './pack-format.ts';

/**
 * Fetches in a worker what the main thread did not lay into the slot. Made by the function `fetcher` of the module that the
 * pool was given (`EncoderOptions.fetch`), one in each worker.
 */
export type Fetch = (place: FetchPlace, what: unknown) => readonly unknown[];

export interface FetchPlace {
  /** To be filled whole. */
  readonly bytes: Uint8Array;
  /** Where it begins in `FetcherSetup.memory`, in bytes. */
  readonly address: number;
}

export interface FetcherSetup {
  /** The WebAssembly.Memory of the slots, where there is one. */
  readonly memory: unknown;
}

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
  readonly segments: readonly JobSegment[];
}

export interface JobSegment {
  readonly length: number;
  readonly old?: Uint8Array;
  /** Its bytes are fetched by the worker, from what this says. */
  readonly fetch?: unknown;
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
      /** What fetching had to tell. */
      readonly reports: readonly unknown[];
    }
  | {
      readonly type: 'packed';
      readonly buffer: number;
      readonly packId: string;
      readonly length: number;
      readonly directory: Uint8Array;
    }
  | { readonly type: 'flushed' };
