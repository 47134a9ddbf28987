/** What a file of changes says of itself; docs/design/rescue.md has the format. */
import { z } from 'zod';

const count = z.number().int().min(0);
const moments = z.object({ before: z.string(), accident: z.string().optional() });

/** Rows of one table by what became of them. Without the state at the accident nothing is `…Since` and nothing `changedBoth`. */
const rowCounts = z.object({
  equal: count,
  /** There before, not now: lost in the accident, or nobody can tell. */
  missing: count,
  /** There before and at the accident, not now. */
  missingSince: count,
  changed: count,
  /** As before at the accident, and changed after it. */
  changedSince: count,
  /** Changed by the accident, and again after it. */
  changedBoth: count,
  added: count,
  /** Not there at the accident: others' work. */
  addedSince: count,
});

const tablePlan = z.object({
  table: z.string(),
  /** False: rows are told apart by their whole content. */
  keyed: z.boolean(),
  rows: rowCounts,
  insert: count,
  revert: count,
  remove: count,
  /** Of `insert`: rows that do not belong to the root, but are referred to, and are gone. */
  parents: count,
  /** Rows left out by `onConflict: skip`. */
  skipped: count,
  samples: z.array(z.object({ kind: z.string(), key: z.string() })),
});

/** What planRescue found; a plan carries it, so that it can be shown again. */
const summary = z.object({
  moments,
  tables: z.array(tablePlan),
  conflicts: z.array(
    z.object({
      table: z.string(),
      index: z.string(),
      rows: count,
      /** Keys of the row of before, and of the row that has its value now. */
      samples: z.array(z.object({ before: z.string(), now: z.string() })),
    }),
  ),
  problems: z.array(z.string()),
  sideEffects: z.array(z.string()),
  seconds: z.number().min(0),
});

const tableChanges = z.object({
  schema: z.string().min(1),
  name: z.string().min(1),
  /** Null: a row is its whole content, and `n` of a line its ordinal among equal ones. */
  key: z.array(z.string().min(1)).min(1).nullable(),
  /** Written, and hashed in this order; the columns of a line after op, expected hash and n. */
  columns: z.array(z.string().min(1)).min(1),
  insert: count,
  revert: count,
  remove: count,
  /** What apply runs, for people: rows are in temporary tables then. */
  statements: z.array(z.string()).optional(),
});

const root = z.object({ table: z.string(), where: z.record(z.string(), z.string()) });

export const headerSchema = z.object({
  kind: z.enum(['plan', 'undo', 'export']),
  id: z.string().regex(/^[0-9a-f]{8,64}$/),
  /** ISO 8601, by the server's clock. */
  made: z.string(),
  program: z.string(),
  database: z.string(),
  /** The cluster's system identifier; null where the role could not ask. */
  system: z.string().nullable(),
  /** Those that are referred to first. */
  tables: z.array(tableChanges),
  summary: summary.optional(),
  /** Whose rows these are. */
  root: root.optional(),
  /** Of an undo: what it undoes, and the transaction that this was. */
  undoes: z.object({ id: z.string(), xid: z.string().regex(/^\d{1,20}$/) }).optional(),
});

export type ChangesetHeader = z.infer<typeof headerSchema>;
export type TableChanges = z.infer<typeof tableChanges>;
export type TablePlan = z.infer<typeof tablePlan>;
export type RowCounts = TablePlan['rows'];
export type UniqueConflict = z.infer<typeof summary>['conflicts'][number];
export type StoredSummary = z.infer<typeof summary>;
