/**
 * What a file of changes says of itself; docs/design/rescue.md has the format. The file may be anyone's work: what is shown of it and
 * what is done with it must come from the same words, so what says a thing twice must say the same.
 */
import * as z from 'zod';
import { tableName } from './schema-model.ts';

const count = z.number().int().min(0);
/** What goes into SQL, quoted: a NUL would end it. */
const word = z
  .string()
  .min(1)
  .refine((text) => !text.includes('\0'), 'has a NUL');
const allDiffer = (names: readonly string[]) => new Set(names).size === names.length;
const moments = z.strictObject({ before: z.string(), accident: z.string().optional() });

/** Rows of one table by what became of them. Without the state at the accident nothing is `…Since` and nothing `changedBoth`. */
const rowCounts = z.strictObject({
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

const tablePlan = z.strictObject({
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
  samples: z.array(z.strictObject({ kind: rowCounts.keyof(), key: z.string() })),
});

/** What planRescue found; a plan carries it, so that it can be shown again. */
const summary = z.strictObject({
  moments,
  tables: z.array(tablePlan),
  conflicts: z.array(
    z.strictObject({
      table: z.string(),
      index: z.string(),
      rows: count,
      /** Keys of the row of before, and of the row that has its value now. */
      samples: z.array(z.strictObject({ before: z.string(), now: z.string() })),
    }),
  ),
  problems: z.array(z.string()),
  sideEffects: z.array(z.string()),
  seconds: z.number().min(0),
});

const tableChanges = z
  .strictObject({
    schema: word,
    name: word,
    /** Null: a row is its whole content, and `n` of a line its ordinal among equal ones. */
    key: z.array(word).min(1).nullable(),
    /** Written, and hashed in this order; the columns of a line after op, expected hash and n. */
    columns: z.array(word).min(1),
    insert: count,
    revert: count,
    remove: count,
    /** For the statements that are shown. */
    partitioned: z.boolean().optional(),
    /** Identity columns that UPDATE cannot set; for the statements that are shown. */
    fixed: z.array(word).optional(),
  })
  .refine(({ columns, key }) => allDiffer(columns) && allDiffer(key ?? []), 'a column is there twice')
  .refine(({ columns, key }) => (key ?? []).every((name) => columns.includes(name)), 'a key has no column')
  .refine(({ key, revert }) => key !== null || revert === 0, 'a row without a key cannot be reverted');

const root = z.strictObject({ table: z.string(), where: z.record(z.string(), z.string()) });

const changesetId = z.string().regex(/^[0-9a-f]{8,64}$/);

const common = {
  id: changesetId,
  /** ISO 8601, by the server's clock. */
  made: z.string(),
  program: z.string(),
  database: z.string(),
  /** The cluster's system identifier; null where the role could not ask. */
  system: z.string().nullable(),
  /** Those that are referred to first. */
  tables: z
    .array(tableChanges)
    .refine(
      (tables) => allDiffer(tables.map(({ schema, name }) => JSON.stringify([schema, name]))),
      'a table is there twice',
    ),
};

const maxXid = 2n ** 64n;

const plan = z
  .strictObject({
    kind: z.literal('plan'),
    ...common,
    /** Whose rows these are. */
    root,
    summary,
  })
  .refine(saysTheSame, 'its summary and its tables say different things');

const undo = z.strictObject({
  kind: z.literal('undo'),
  ...common,
  root: root.optional(),
  /** What it undoes, and the transaction that this was. */
  undoes: z.strictObject({
    id: changesetId,
    xid: z
      .string()
      .regex(/^\d{1,20}$/)
      .refine((text) => BigInt(text) < maxXid, 'is no transaction'),
  }),
});

export const headerSchema = z.discriminatedUnion('kind', [plan, undo]);

type Actions = Pick<TablePlan, 'insert' | 'revert' | 'remove'>;

/** The summary is what people see, the tables are what is done. */
function saysTheSame(header: {
  readonly tables: readonly TableChanges[];
  readonly summary: StoredSummary;
}): boolean {
  const line = (table: string, keyed: boolean, { insert, revert, remove }: Actions) =>
    JSON.stringify([table, keyed, insert, revert, remove]);
  const done = header.tables.map((one) => line(tableName(one), one.key !== null, one));
  const seen = header.summary.tables
    .filter(({ insert, revert, remove }) => insert + revert + remove > 0)
    .map((one) => line(one.table, one.keyed, one));
  return done.sort().join() === seen.sort().join();
}

export type ChangesetHeader = z.infer<typeof headerSchema>;
export type TableChanges = z.infer<typeof tableChanges>;
export type TablePlan = z.infer<typeof tablePlan>;
export type RowCounts = TablePlan['rows'];
export type UniqueConflict = z.infer<typeof summary>['conflicts'][number];
export type StoredSummary = z.infer<typeof summary>;
