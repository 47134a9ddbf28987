/**
 * Rescue: one tenant's rows out of the past back into the live database, and nothing else. A plan is made from two or three
 * states of the database (before, at the accident, now) and is a file; applying it is one transaction that writes the file
 * which undoes it before it commits; undoing is applying that.
 *
 * Invariants:
 * - Memory is flat: sets of rows are temporary tables on the servers, rows pass through here as COPY streams.
 * - The plan reads the live database in a read-only transaction. What it says of a row is checked again when it is applied.
 * - A row that nobody named is never touched; what would be left without its parent, or its children, stops the whole.
 * - docs/design/rescue.md has the format of the files.
 */

export { applyRescue, undoRescue } from './apply.ts';
export { closure } from './closure.ts';
export { planRescue } from './plan.ts';
export { readSchema } from './read-schema.ts';
export { resolveRoot } from './root.ts';
export type { RescueRoot } from './schema-model.ts';
export { type ShownFile, type ShownRow, showChanges } from './show.ts';
export type {
  ApplyOptions,
  ApplyResult,
  PlanOptions,
  PlanSummary,
  RescuePolicies,
  TablePolicy,
  UndoOptions,
} from './types.ts';
