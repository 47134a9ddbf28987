/** What transactions that have not ended yet have done so far, and how that is stored between two runs. */
import * as z from 'zod';
import type { CatalogChange } from './catalog-changes.ts';

export interface RowCounts {
  readonly database: number;
  readonly file: number;
  inserted: number;
  updated: number;
  deleted: number;
}

export interface OpenTransaction {
  /** By file number. */
  readonly counts: Map<number, RowCounts>;
  /** Of pg_class and files; all of one database. */
  readonly changes: CatalogChange[];
  readonly droppedDatabases: number[];
  database: number;
}

export function newTransaction(database = 0): OpenTransaction {
  return { counts: new Map(), changes: [], droppedDatabases: [], database };
}

/** Adds what a subtransaction did to its parent. */
export function mergeTransaction(into: OpenTransaction, from: OpenTransaction): void {
  into.database ||= from.database;
  into.changes.push(...from.changes);
  into.droppedDatabases.push(...from.droppedDatabases);
  for (const counts of from.counts.values()) {
    const known = into.counts.get(counts.file);
    if (!known) into.counts.set(counts.file, counts);
    else {
      known.inserted += counts.inserted;
      known.updated += counts.updated;
      known.deleted += counts.deleted;
    }
  }
}

const count = z.number().int();
const rowSchema = z.object({
  oid: count,
  schema: count,
  name: z.string(),
  kind: z.string(),
  persistence: z.string(),
  file: count,
});
const changeSchema = z.discriminatedUnion('kind', [
  z.object({ order: count, kind: z.literal('file'), file: count, tablespace: count }),
  z.object({ order: count, kind: z.literal('insert'), place: count, row: rowSchema.optional() }),
  z.object({ order: count, kind: z.literal('update'), from: count, to: count }),
  z.object({ order: count, kind: z.literal('delete'), place: count }),
  z.object({ order: count, kind: z.literal('truncate'), relations: z.array(count).readonly() }),
]);

/** Changes of pg_class that were committed at a position. */
export const appliedChangeSchema = z.object({
  xid: count,
  at: count,
  database: count,
  changes: z.array(changeSchema),
  files: z.array(z.object({ tablespace: count, database: count, file: count })),
});

export type AppliedChange = z.infer<typeof appliedChangeSchema>;

export const openTransactionSchema = z.object({
  xid: count,
  database: count,
  /** database, file, inserted, updated, deleted */
  counts: z.array(z.tuple([count, count, count, count, count])),
  changes: z.array(changeSchema),
  droppedDatabases: z.array(count),
});

export type StoredOpenTransaction = z.infer<typeof openTransactionSchema>;

export function storeTransaction(xid: number, transaction: OpenTransaction): StoredOpenTransaction {
  return {
    xid,
    database: transaction.database,
    counts: [...transaction.counts.values()].map((c) => [
      c.database,
      c.file,
      c.inserted,
      c.updated,
      c.deleted,
    ]),
    changes: transaction.changes,
    droppedDatabases: transaction.droppedDatabases,
  };
}

export function restoreTransaction(stored: StoredOpenTransaction): OpenTransaction {
  const transaction = newTransaction(stored.database);
  for (const [database, file, inserted, updated, deleted] of stored.counts)
    transaction.counts.set(file, { database, file, inserted, updated, deleted });
  transaction.changes.push(...stored.changes);
  transaction.droppedDatabases.push(...stored.droppedDatabases);
  return transaction;
}
