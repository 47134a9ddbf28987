/** What the thread that reads WAL records and its owner say to each other. */
import type { CatalogSnapshot, WalDamage, WalIndexerOptions } from '../../postgres/index.ts';

export type ToIndexer =
  /** Shared memory; it is free again with `read`. */
  | { readonly type: 'wal'; readonly memory: SharedArrayBuffer; readonly length: number }
  | { readonly type: 'snapshot'; readonly snapshot: CatalogSnapshot }
  /**
   * `whole`: everything since the last whole part, else since the last part. `storedTo`: whole segments are stored up to there.
   * Damage before it is told; of a part of a segment the server may yet send better bytes, after a broken connection.
   */
  | { readonly type: 'take'; readonly whole: boolean; readonly storedTo: bigint };

export type FromIndexer =
  | { readonly type: 'read'; readonly memory: SharedArrayBuffer; readonly length: number }
  | { readonly type: 'failed'; readonly message: string }
  | {
      readonly type: 'part';
      readonly begin: bigint;
      readonly end: bigint;
      /** As it is stored. */
      readonly encoded: Uint8Array;
      /** It is stored although it is empty: with how the record goes on that goes across the whole segment. */
      readonly goesOn: boolean;
      readonly damaged: readonly WalDamage[];
      /** Databases of which a new catalog snapshot is wanted. */
      readonly changed: readonly number[];
    };

export type IndexerSetup = WalIndexerOptions;
