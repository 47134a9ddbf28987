/** The names of all databases' relations as WAL goes by, and what a transaction's counts mean in their terms. */
import type { CatalogSnapshot } from '../catalog-snapshot.ts';
import { applyCatalogChanges, type CatalogEffects } from './catalog-changes.ts';
import type { RelationChange } from './log-index.ts';
import type { AppliedChange, OpenTransaction, RowCounts } from './open-transactions.ts';
import { firstClassFile, type Relation, RelationNames } from './relation-names.ts';
import type { RelationFileNumber } from './transaction-records.ts';

/** So many transactions that changed pg_class are kept, for snapshots that were taken while they ran. */
const kept = 1000;
const tableKinds = new Set<string | undefined>(['r', 'p', 'm', 'f', undefined]);

const noEffects: CatalogEffects = {
  created: new Set(),
  dropped: new Set(),
  truncated: new Set(),
  rewritten: new Set(),
  passing: new Set(),
};

const noNames: readonly string[] = [];
/** Rows of a kind up to which changes of one relation are told by the same object. */
const few = 2;

export class NameKeeper {
  readonly #byDatabase = new Map<number, RelationNames>();
  readonly #databaseNames = new Map<number, string>();
  /** Snapshots ahead of what was read, by position. */
  #waiting: { at: number; snapshot: CatalogSnapshot }[] = [];
  #nextAt = Number.POSITIVE_INFINITY;
  /** Changes of pg_class that the last snapshot of their database may not know. */
  #recent: AppliedChange[];
  readonly #changed = new Set<number>();
  /** Of a relation, by numbers of rows. */
  readonly #alike = new WeakMap<Relation, RelationChange[]>();

  constructor(recent: readonly AppliedChange[] = []) {
    this.#recent = [...recent];
  }

  /** What a later run needs beside the snapshots. */
  get recent(): readonly AppliedChange[] {
    return this.#recent;
  }

  add(snapshot: CatalogSnapshot): void {
    this.#waiting.push({ at: Number(snapshot.lsn), snapshot });
    this.#waiting.sort((a, b) => a.at - b.at);
    this.#nextAt = this.#waiting[0]!.at;
    // A name is better than none, also before the snapshot holds.
    for (const [oid, name] of snapshot.databases)
      if (!this.#databaseNames.has(oid)) this.#databaseNames.set(oid, name);
    if (!this.#byDatabase.has(snapshot.database.oid))
      this.#byDatabase.set(snapshot.database.oid, new RelationNames(snapshot.database.oid, snapshot));
  }

  /** Snapshots up to this position hold from now on. */
  reach(position: number): void {
    while (position >= this.#nextAt) {
      this.#apply(this.#waiting.shift()!.snapshot);
      this.#nextAt = this.#waiting[0]?.at ?? Number.POSITIVE_INFINITY;
    }
  }

  #apply(snapshot: CatalogSnapshot): void {
    const { oid } = snapshot.database;
    for (const [database, name] of snapshot.databases) this.#databaseNames.set(database, name);
    const names = new RelationNames(oid, snapshot, this.#byDatabase.get(oid));
    this.#byDatabase.set(oid, names);
    // Committed behind its position (an earlier run read them), or in WAL already but not yet for the snapshot.
    const running = new Set(snapshot.running);
    const position = Number(snapshot.lsn);
    this.#recent = this.#recent.filter(
      (applied) => applied.database !== oid || applied.at >= position || running.has(applied.xid),
    );
    for (const applied of this.#recent)
      if (applied.database === oid) applyCatalogChanges(names, applied.changes, applied.files);
  }

  classFile(database: number): number {
    return this.#byDatabase.get(database)?.classFile ?? firstClassFile;
  }

  /** pg_class has another file: its rows are at places that only the next snapshot tells. */
  moveClass(database: number, file: number): void {
    this.#namesOf(database).moveClass(file);
    this.#changed.add(database);
  }

  #namesOf(database: number): RelationNames {
    let names = this.#byDatabase.get(database);
    if (!names) {
      names = new RelationNames(database);
      this.#byDatabase.set(database, names);
    }
    return names;
  }

  takeChanged(): number[] {
    const changed = [...this.#changed];
    this.#changed.clear();
    return changed;
  }

  /** Of a transaction that was committed at a position. */
  describe(
    { xid, at, files }: { xid: number; at: number; files: readonly RelationFileNumber[] },
    { database, counts, changes, droppedDatabases }: OpenTransaction,
  ): { changes: readonly RelationChange[]; droppedDatabases: readonly string[] } {
    if (changes.length === 0 && files.length === 0 && droppedDatabases.length === 0)
      return { changes: this.#plainChanges(database, counts), droppedDatabases: noNames };
    const effects =
      changes.length > 0 || files.length > 0
        ? this.#effects({ xid, at, database, changes: [...changes], files: [...files] })
        : noEffects;
    const found = new Map<Relation | number, RowCounts[]>();
    if (database !== 0) this.#assign(database, counts, effects, found);
    for (const set of [effects.created, effects.dropped, effects.truncated, effects.rewritten])
      for (const relation of set) if (shown(relation) && !found.has(relation)) found.set(relation, []);
    return {
      changes: [...found].map(([relation, rows]) => this.#change(database, relation, rows, effects)),
      droppedDatabases: droppedDatabases.map((oid) => this.#databaseName(oid)),
    };
  }

  /** Of a transaction that left relations as they are, as nearly all do: each file is another relation's. */
  #plainChanges(database: number, counts: ReadonlyMap<number, RowCounts>): RelationChange[] {
    const changes: RelationChange[] = [];
    if (counts.size === 0) return changes;
    const names = this.#byDatabase.get(database);
    const name = this.#databaseName(database);
    for (const rows of counts.values()) {
      if (rows.inserted === 0 && rows.updated === 0 && rows.deleted === 0) continue;
      const relation = names?.byFile(rows.file);
      if (relation === undefined) changes.push(plainChange(name, undefined, rows));
      else if (shown(relation)) changes.push(this.#plainChange(name, relation, rows));
    }
    return changes;
  }

  /** A busy server's transactions are much alike, and all are kept until their segment is whole: one object for the same rows. */
  #plainChange(database: string, relation: Relation, rows: RowCounts): RelationChange {
    const { inserted, updated, deleted } = rows;
    if (inserted < 0 || inserted > few || updated > few || deleted > few)
      return plainChange(database, relation, rows);
    let alike = this.#alike.get(relation);
    if (alike === undefined) {
      alike = [];
      this.#alike.set(relation, alike);
    }
    const at = (inserted * (few + 1) + updated) * (few + 1) + deleted;
    const known = alike[at];
    if (known !== undefined && isOf(known, database, relation)) return known;
    const change = plainChange(database, relation, rows);
    alike[at] = change;
    return change;
  }

  #databaseName(oid: number): string {
    return this.#databaseNames.get(oid) ?? `database ${oid}`;
  }

  #effects(applied: AppliedChange): CatalogEffects {
    const { database, changes, files } = applied;
    if (changes.length > 0) {
      this.#changed.add(database);
      this.#recent.push(applied);
      if (this.#recent.length > kept) this.#recent = this.#recent.slice(-kept / 2);
    }
    return applyCatalogChanges(this.#namesOf(database), changes, files);
  }

  /** Rows to relations: not those of TOAST tables, of temporary tables, nor of relations that only passed. */
  #assign(
    database: number,
    counts: ReadonlyMap<number, RowCounts>,
    { passing }: CatalogEffects,
    found: Map<Relation | number, RowCounts[]>,
  ): void {
    const names = this.#byDatabase.get(database);
    const noise = passing.size === 0 ? undefined : new Set([...passing].map(({ file }) => file));
    for (const rows of counts.values()) {
      if (noise?.has(rows.file)) continue;
      if (rows.inserted === 0 && rows.updated === 0 && rows.deleted === 0) continue;
      const relation = names?.byFile(rows.file);
      if (relation && !shown(relation)) continue;
      const key = relation ?? rows.file;
      const known = found.get(key);
      if (known) known.push(rows);
      else found.set(key, [rows]);
    }
  }

  #change(
    database: number,
    relation: Relation | number,
    rows: readonly RowCounts[],
    effects: CatalogEffects,
  ): RelationChange {
    const known = typeof relation === 'number' ? undefined : relation;
    const is = (set: ReadonlySet<Relation>) => known !== undefined && set.has(known);
    const all = {
      file: typeof relation === 'number' ? relation : relation.file,
      inserted: rows.reduce((sum, row) => sum + row.inserted, 0),
      updated: rows.reduce((sum, row) => sum + row.updated, 0),
      deleted: rows.reduce((sum, row) => sum + row.deleted, 0),
    };
    return {
      ...plainChange(this.#databaseName(database), known, all),
      created: is(effects.created),
      dropped: is(effects.dropped),
      truncated: is(effects.truncated),
      rewritten: is(effects.rewritten),
    };
  }
}

function shown({ kind, temporary }: Relation): boolean {
  return tableKinds.has(kind) && !temporary;
}

/** Not as it was before it was renamed, moved or rewritten. */
function isOf(change: RelationChange, database: string, { file, schema, name }: Relation): boolean {
  return (
    change.file === file && change.name === name && change.schema === schema && change.database === database
  );
}

/** `rows.file` tells an unknown relation. */
function plainChange(
  database: string,
  relation: Relation | undefined,
  rows: Omit<RowCounts, 'database'>,
): RelationChange {
  return {
    oid: relation?.oid,
    file: relation?.file ?? rows.file,
    database,
    schema: relation?.schema,
    name: relation?.name,
    inserted: rows.inserted,
    updated: rows.updated,
    deleted: rows.deleted,
    created: false,
    dropped: false,
    truncated: false,
    rewritten: false,
  };
}
