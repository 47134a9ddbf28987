/**
 * The storage driver contract. A driver stores whole objects under names made of `/`-separated parts of
 * `[A-Za-z0-9._-]` (names.ts). Invariants, checked by the contract suite (testing/contract.ts) on every driver:
 * - `put` is all or nothing: a reader never sees a part of an object, and once `put` has resolved the object is durable
 *   (on a disk: file and folder fsynced). With `ifAbsent` an existing object is never touched: STORAGE_EXISTS, which is
 *   only said of an object that is durable too. A `put` that failed otherwise may or may not have stored the object.
 * - `get` returns exactly the range that was asked for, or throws (STORAGE_NOT_FOUND, STORAGE_SHORT_READ).
 * - "There is no such object" is only said by a store that was reached: a store that is away is STORAGE_UNAVAILABLE.
 * - `list` yields every object under the prefix once, in order of name (UTF-8 bytes); half-written objects never appear.
 * - `remove` of a missing object succeeds; once it has resolved, the object does not come back after a power cut.
 * - No object's name may be the folder of another (`a` beside `a/b`): a driver may refuse with STORAGE_DENIED, as anything
 *   else that is no object and in the way. STORAGE_EXISTS is taken for "stored already".
 * - Failures are HelvinoErrors of the STORAGE_* family; a malformed name, range or buffer is the caller's bug, INTERNAL.
 *   A driver classifies; it does not retry (see retry.ts).
 */
export interface ObjectFacts {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** When the store says the object was written: the store's clock, not ours. */
  readonly modified: Date;
}

export interface PutOptions {
  /** Refuse to replace. All of Helvino's own objects are written so. */
  readonly ifAbsent: boolean;
  /** Keep undeletable until then, where the driver can (`capabilities.retention`). */
  readonly retainUntil?: Date;
  /** It is to be removed soon: a retention that applies by default does not (retain.ts). */
  readonly passing?: boolean;
}

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export interface Capabilities {
  /** `fs`, `s3`, `memory`. */
  readonly kind: string;
  /** A place for people: `/var/backups/helvino`, `s3://bucket/prefix`. */
  readonly place: string;
  /** Whether `retainUntil` and `extendRetention` are honoured. */
  readonly retention: boolean;
  /** A network lies between: fewer and larger calls are better, and more at a time. */
  readonly distant?: boolean;
  /** How long what is put now is retained by default (retain.ts). */
  readonly keepMs?: number;
}

export interface StorageDriver {
  readonly capabilities: Capabilities;
  /** `body`: the whole object, as the pieces it is made of; they must not change until `put` has settled. */
  put(name: string, body: readonly Uint8Array[], options: PutOptions): Promise<void>;
  /**
   * Without a range: the whole object. `into`: where the bytes are wanted (at its start, it must be large enough); the
   * result is then a view of it. A range of length zero is empty wherever it begins inside the object or at its end.
   */
  get(name: string, range?: ByteRange, into?: Uint8Array): Promise<Uint8Array>;
  /** Undefined when there is no such object. */
  head(name: string): Promise<ObjectFacts | undefined>;
  /** `prefix` is a prefix of the name, not a folder: `a/b` finds `a/b`, `a/bc` and `a/b/c`; '' finds all. */
  list(prefix: string): AsyncIterable<ObjectFacts>;
  remove(name: string): Promise<void>;
  /** Never shortens. Without `capabilities.retention` it does nothing. STORAGE_NOT_FOUND when there is no such object. */
  extendRetention(name: string, until: Date): Promise<void>;
  /** The store's own clock, as the date that it would give an object written now. */
  now(): Promise<Date>;
  close(): Promise<void>;
}
