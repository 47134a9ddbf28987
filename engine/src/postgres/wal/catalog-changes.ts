/**
 * What a committed transaction did to relations as a whole, told from its changes of pg_class and the files that it made:
 * tables created, dropped, truncated, rewritten. Rules, from src/backend/catalog and commands/:
 * - DROP deletes the row of pg_class.
 * - TRUNCATE makes a new file and then updates the row (RelationSetNewRelfilenumber). So do REINDEX and SET TABLESPACE, but
 *   of an index, or into another tablespace.
 * - VACUUM FULL, CLUSTER, REFRESH and a rewriting ALTER TABLE make a passing relation, fill it, swap files (two updates in a
 *   row, the table's first) and delete the passing row: its file is not among those that go away.
 */

import type { Relation, RelationNames } from './relation-names.ts';
import type { RelationFileNumber } from './transaction-records.ts';

/** In the order of WAL. `order` counts records. */
export type CatalogChange = { readonly order: number } & (
  | { readonly kind: 'file'; readonly file: number; readonly tablespace: number }
  | { readonly kind: 'insert'; readonly place: number; readonly row?: ClassRow | undefined }
  | { readonly kind: 'update'; readonly from: number; readonly to: number }
  | { readonly kind: 'delete'; readonly place: number }
  | { readonly kind: 'truncate'; readonly relations: readonly number[] }
);

/** A row of pg_class, as far as it matters. */
export interface ClassRow {
  readonly oid: number;
  readonly schema: number;
  readonly name: string;
  readonly kind: string;
  readonly persistence: string;
  readonly file: number;
}

export interface CatalogEffects {
  readonly created: ReadonlySet<Relation>;
  readonly dropped: ReadonlySet<Relation>;
  readonly truncated: ReadonlySet<Relation>;
  readonly rewritten: ReadonlySet<Relation>;
  /** Relations that lived only within the transaction: rows in their files are no rows of a table. */
  readonly passing: ReadonlySet<Relation>;
}

/** Applies the changes of one committed transaction to the names, and says what they mean. */
export function applyCatalogChanges(
  names: RelationNames,
  changes: readonly CatalogChange[],
  removedFiles: readonly RelationFileNumber[],
): CatalogEffects {
  const run = new Application(names, new Set(removedFiles.map(({ file }) => file)));
  for (const change of [...changes].sort((a, b) => a.order - b.order)) run.apply(change);
  return run.finish();
}

class Application {
  readonly #names: RelationNames;
  readonly #removed: ReadonlySet<number>;
  readonly #created = new Set<Relation>();
  readonly #gone = new Set<Relation>();
  readonly #truncated = new Set<Relation>();
  readonly #rewritten = new Set<Relation>();
  /** By new relation: the one whose row was updated just before its own, the last time. */
  readonly #partner = new Map<Relation, Relation>();
  #files: { file: number; tablespace: number }[] = [];
  #lastUpdated: Relation | undefined;
  #blindDeletes = 0;
  /** Rows got new files whose places are not known. */
  #blindFiles = 0;

  constructor(names: RelationNames, removed: ReadonlySet<number>) {
    this.#names = names;
    this.#removed = removed;
  }

  apply(change: CatalogChange): void {
    if (change.kind === 'file') this.#files.push(change);
    else if (change.kind === 'insert') this.#insert(change.place, change.row);
    else if (change.kind === 'update') this.#update(change.from, change.to);
    else if (change.kind === 'delete') this.#delete(change.place);
    else {
      for (const oid of change.relations) {
        const relation = this.#names.byOid(oid);
        if (relation) this.#truncated.add(relation);
      }
    }
  }

  #insert(place: number, row: ClassRow | undefined): void {
    const made = this.#files.pop();
    this.#files = [];
    const file = row?.file || made?.file || 0;
    // Without the row: a new relation's number is that of its first file.
    const oid = row?.oid ?? file;
    if (oid === 0) return;
    const relation: Relation = {
      oid,
      schema: row && this.#names.schemaName(row.schema),
      name: row?.name,
      kind: row?.kind,
      temporary: row?.persistence === 't',
      file,
      tablespace: made?.tablespace ?? 0,
      place,
    };
    this.#names.add(relation);
    this.#created.add(relation);
    this.#lastUpdated = undefined;
  }

  #update(from: number, to: number): void {
    const relation = this.#names.byPlace(from);
    const made = this.#files.pop();
    this.#files = [];
    if (!relation) {
      this.#lastUpdated = undefined;
      if (made) this.#blindFiles++;
      return;
    }
    this.#names.move(relation, to);
    if (made) {
      const isTable = relation.kind === 'r' || relation.kind === undefined;
      const moved = made.tablespace !== relation.tablespace;
      if (isTable && !moved && !this.#created.has(relation)) this.#truncated.add(relation);
      this.#names.setFile(relation, made);
    }
    if (this.#created.has(relation) && this.#lastUpdated && this.#lastUpdated !== relation)
      this.#partner.set(relation, this.#lastUpdated);
    this.#lastUpdated = relation;
  }

  #delete(place: number): void {
    const relation = this.#names.byPlace(place);
    this.#lastUpdated = undefined;
    if (!relation) {
      this.#blindDeletes++;
      return;
    }
    this.#names.remove(relation);
    this.#gone.add(relation);
  }

  finish(): CatalogEffects {
    const passing = new Set([...this.#gone].filter((relation) => this.#created.has(relation)));
    for (const relation of passing) {
      const table = this.#partner.get(relation);
      if (!table || relation.file === 0 || this.#removed.has(relation.file)) continue;
      this.#rewritten.add(table);
      this.#truncated.delete(table);
      this.#names.setFile(table, relation);
    }
    const dropped = new Set([...this.#gone].filter((relation) => !passing.has(relation)));
    if (this.#blindDeletes > 0) this.#addRemoved(dropped);
    else if (this.#blindFiles > 0) this.#addRemoved(this.#truncated);
    // Nothing was there before: of a table made in this transaction, only what is in it at the end matters.
    for (const relation of [...dropped, ...this.#created]) this.#truncated.delete(relation);
    const created = new Set([...this.#created].filter((relation) => !passing.has(relation)));
    return {
      created,
      dropped,
      passing,
      truncated: this.#truncated,
      rewritten: this.#rewritten,
    };
  }

  /** Rows of pg_class were changed whose places are not known: then the files that went away tell. */
  #addRemoved(relations: Set<Relation>): void {
    for (const file of this.#removed) {
      const relation = this.#names.byFile(file);
      // A table that got another file in this transaction lives on.
      if (relation && relation.file === file && !this.#created.has(relation)) relations.add(relation);
    }
  }
}
