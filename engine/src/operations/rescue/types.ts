/**
 * What a rescue is asked for, and what it answers: planRescue(PlanOptions): PlanSummary, applyRescue(ApplyOptions): ApplyResult,
 * undoRescue(UndoOptions): ApplyResult.
 */
import type { Client } from 'pg';
import type { Clock } from '../../base/clock.ts';
import type { Progress } from '../../base/progress.ts';
import type { StoredSummary } from './changeset-header.ts';
import type { ModelOptions, RescueRoot, SchemaModel } from './schema-model.ts';

/** What may be done with a table's rows. `insert` rows that are missing, `revert` rows that changed, `remove` rows that were added. */
export interface TablePolicy {
  readonly insert: boolean;
  readonly revert: boolean;
  readonly remove: boolean;
}

export interface RescuePolicies {
  readonly all: TablePolicy;
  /** By table name; instead of `all`. */
  readonly tables?: Readonly<Record<string, Partial<TablePolicy>>> | undefined;
  /**
   * With a third state, at the accident: also what was done after it (rows deleted, changed or added since) is put back.
   * Default false: later work stays. Without that state nobody can tell, and the policies hold for everything.
   */
  readonly undoSince?: boolean;
  /**
   * A row to be brought back has a unique value that another row has now. `stop`: the plan cannot be applied; `skip`: it and
   * what refers to it stay away; `replace`: the other row is removed.
   */
  readonly onConflict: 'stop' | 'skip' | 'replace';
  /** A table that has changed its columns: `stop`, or `default` for columns that were added, and loss of those dropped. */
  readonly onSchemaChange: 'stop' | 'default';
}

interface Working {
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface PlanOptions extends Working {
  /** Connected to the database as it was before the accident; may write temporary tables. */
  readonly before: Client;
  /** What is there, if not what the catalogs of `before` say: tables whose rows are in temporary ones (`rowsIn`). */
  readonly past?: SchemaModel | undefined;
  /** … just after the accident, if that is wanted. */
  readonly accident?: Client | undefined;
  /** The live database: read only, but for temporary tables, so it must be a primary. */
  readonly now: Client;
  readonly model: ModelOptions;
  readonly root: RescueRoot;
  readonly policies: RescuePolicies;
  /** Where the plan is written; must not exist. */
  readonly file: string;
  /** What the moments are, for people. */
  readonly moments?: { readonly before: string; readonly accident?: string | undefined };
  /** Helvino's version, for the file. */
  readonly program: string;
}

/**
 * `problems`: why it cannot be applied as it is; empty when it can. `sideEffects`: what else will happen, or will not: triggers,
 * columns that take their default, tables that are left out. `seconds`: about how long applying it takes.
 */
export interface PlanSummary extends StoredSummary {
  readonly id: string;
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly database: string;
  readonly root: RescueRoot;
  /** When the live database was read. */
  readonly made: string;
}

export interface ApplyOptions extends Working {
  readonly now: Client;
  readonly planFile: string;
  /** Of the file that was shown or told of: another is refused. */
  readonly sha256?: string | undefined;
  /** What undoes it; written before the commit. */
  readonly undoFile: string;
  /** Do everything, and roll it back. */
  readonly dryRun: boolean;
  /** Rows that are no longer as the plan saw them. */
  readonly onMoved: 'stop' | 'skip';
  /**
   * `off`: triggers and foreign-key actions do not fire (session_replication_role = replica); `fire`: they do. `auto`: off
   * where the role may, else fire, but only where no table has a trigger.
   */
  readonly triggers: 'auto' | 'off' | 'fire';
  readonly lockTimeoutMs: number;
  /** 0: none. */
  readonly statementTimeoutMs: number;
  /** Helvino's version, for the file. */
  readonly program: string;
}

export interface AppliedTable {
  readonly table: string;
  readonly inserted: number;
  readonly reverted: number;
  readonly removed: number;
  /** Were already as wanted. */
  readonly done: number;
  /** Left alone, as they are no longer what the plan saw. */
  readonly moved: number;
}

export interface ApplyResult {
  readonly state: 'applied' | 'nothing-to-do' | 'dry-run';
  readonly plan: string;
  readonly database: string;
  readonly tables: readonly AppliedTable[];
  /** Undefined when nothing was changed. */
  readonly undoFile: string | undefined;
  readonly triggers: 'off' | 'fire';
  readonly sequences: readonly string[];
  readonly warnings: readonly string[];
  readonly seconds: number;
}

export interface UndoOptions extends Omit<ApplyOptions, 'planFile' | 'undoFile'> {
  readonly undoFile: string;
  /** What undoes the undo; written before the commit. */
  readonly redoFile: string;
}
