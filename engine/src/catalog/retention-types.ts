/** What retention plans with and says. */
import type { PeriodKind } from './periods.ts';

/** A rule that is left out keeps nothing. */
export interface KeepRules {
  /** Everything that the store has had for less than this; milliseconds. */
  readonly withinMs?: number;
  /** The newest so many. */
  readonly last?: number;
  /** One for each of the last so many days, and one for today; likewise weeks, months and years. */
  readonly daily?: number;
  readonly weekly?: number;
  readonly monthly?: number;
  readonly yearly?: number;
  /** The newest so many that carry the label of a deployment. */
  readonly deployments?: number;
}

export interface RetentionPolicy {
  readonly keep: KeepRules;
  /** Good backups that there are never fewer of. */
  readonly minimum: number;
  /** The most that the backups of the kind may take, in bytes. */
  readonly maxBytes?: number;
  /** IANA name: where days, weeks, months and years begin. */
  readonly timeZone: string;
  /** A backup with this label, or one that begins with it and a dash, was made before a deployment. */
  readonly deployLabel: string;
  /** How far back every moment must stay recoverable where WAL is stored; milliseconds. */
  readonly pitrMs: number;
}

/**
 * `good`: counts. `failed`: its newest drill failed, so it takes the place of no other. `unreadable`: its manifest is
 * damaged or missing: it is neither counted nor touched.
 */
export type BackupState = 'good' | 'failed' | 'unreadable';

export interface RetentionBackup {
  readonly id: string;
  /** `physical`, `logical`, `volume`. */
  readonly kind: string;
  /** When it ended by its own word, but never after the store had it. */
  readonly made: Date;
  /** When the store had it, by the store's clock. */
  readonly committed: Date;
  readonly label?: string;
  readonly state: BackupState;
  readonly proof?: 'proven' | 'partly proven';
  /** Who must not lose it, and why. */
  readonly holds: readonly string[];
  /** Of a physical one. */
  readonly timeline?: number;
  /** Each stands for the same pack wherever its id is the same: a text, or a number from 0 on. There may be a million. */
  readonly packs: Iterable<{ readonly id: string | number; readonly size: number }>;
}

export type Rule =
  | PeriodKind
  | 'unreadable'
  | 'hold'
  | 'backups fail'
  | 'future'
  | 'within'
  | 'last'
  | 'deployment'
  | 'minimum'
  | 'last proven'
  | 'recovery window'
  | 'too few good'
  | 'no rule'
  | 'size limit';

export interface Reason {
  readonly rule: Rule;
  /** For people. */
  readonly detail: string;
}

export interface Decision {
  readonly id: string;
  readonly kind: string;
  readonly action: 'keep' | 'remove';
  readonly reasons: readonly Reason[];
}

export interface KindSituation {
  readonly policy: RetentionPolicy;
  readonly now: Date;
  /** Why backups of this kind are taken to fail: nothing is removed then. */
  readonly trouble: readonly string[];
  /** When the newest WAL of each timeline was stored; empty where none is. */
  readonly logOf: ReadonlyMap<number, Date>;
}
