/**
 * The relations of one database as the WAL goes by: begun with a catalog snapshot, kept up to date by the changes of
 * pg_class that WAL tells. Rows of pg_class are followed by their place (block and item), which every record names even
 * when it carries a page image in place of the row.
 */
import type { CatalogSnapshot } from '../catalog-snapshot.ts';

export interface Relation {
  readonly oid: number;
  schema: string | undefined;
  /** Undefined for one that was made after the last snapshot, in a record that did not carry its row. */
  name: string | undefined;
  readonly kind: string | undefined;
  readonly temporary: boolean;
  file: number;
  tablespace: number;
  place: number;
}

/** One number for block and item. */
export function placeOf(block: number, item: number): number {
  return block * 65536 + item;
}

/** pg_class, unless VACUUM FULL gave it another file. */
export const firstClassFile = 1259;

export class RelationNames {
  readonly oid: number;
  readonly name: string | undefined;
  #classFile: number;
  readonly #byOid = new Map<number, Relation>();
  readonly #byFile = new Map<number, Relation>();
  readonly #byPlace = new Map<number, Relation>();
  readonly #schemas: ReadonlyMap<number, string>;
  /** What was known before the last snapshot: for transactions between its position and its making. */
  #before: RelationNames | undefined;

  constructor(oid: number, snapshot?: CatalogSnapshot, before?: RelationNames) {
    this.oid = oid;
    this.name = snapshot?.database.name;
    this.#classFile = snapshot?.classFile ?? firstClassFile;
    this.#schemas = new Map(snapshot?.schemas ?? []);
    this.#before = before;
    if (before) before.#before = undefined;
    for (const row of snapshot?.relations ?? []) {
      const [relation, schema, name, kind, persistence, file, tablespace, block, item] = row;
      this.add({
        oid: relation,
        schema: this.#schemas.get(schema),
        name,
        kind,
        temporary: persistence === 't',
        file,
        tablespace: tablespace || snapshot!.database.tablespace,
        place: placeOf(block, item),
      });
    }
  }

  get classFile(): number {
    return this.#classFile;
  }

  moveClass(file: number): void {
    this.#classFile = file;
    this.#byPlace.clear();
    this.#before?.moveClass(file);
  }

  add(relation: Relation): void {
    this.#byOid.set(relation.oid, relation);
    if (relation.file > 0) this.#byFile.set(relation.file, relation);
    this.#byPlace.set(relation.place, relation);
  }

  byFile(file: number): Relation | undefined {
    return this.#byFile.get(file) ?? this.#before?.byFile(file);
  }

  byPlace(place: number): Relation | undefined {
    return this.#byPlace.get(place) ?? this.#before?.byPlace(place);
  }

  byOid(oid: number): Relation | undefined {
    return this.#byOid.get(oid) ?? this.#before?.byOid(oid);
  }

  schemaName(oid: number): string | undefined {
    return this.#schemas.get(oid);
  }

  move(relation: Relation, place: number): void {
    if (this.#byPlace.get(relation.place) === relation) this.#byPlace.delete(relation.place);
    relation.place = place;
    this.#byPlace.set(place, relation);
  }

  /** The old file's name is kept: transactions that wrote to it may still have to be told of. */
  setFile(relation: Relation, { file, tablespace }: { file: number; tablespace: number }): void {
    relation.file = file;
    relation.tablespace = tablespace;
    this.#byFile.set(file, relation);
  }

  remove(relation: Relation): void {
    if (this.#byPlace.get(relation.place) === relation) this.#byPlace.delete(relation.place);
    this.#byOid.delete(relation.oid);
  }
}
