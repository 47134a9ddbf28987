/** Rows of a partitioned table are in its partitions, and WAL knows only these: which are they? */
import { type CatalogSnapshot, parseCatalogSnapshot } from '../../postgres/index.ts';
import { listLogNotes, openLogNote, type Repository } from '../../repository/index.ts';
import { type FindFilter, isNamed, partitionKeys } from './find-filter.ts';

/**
 * All that were partitions, at any depth, of the tables that are looked for, in the time that is looked through; also children by
 * inheritance. By the catalog snapshots that were stored beside WAL.
 */
export async function partitionsOf(
  repository: Repository,
  database: string,
  { tables, since }: Pick<FindFilter, 'tables' | 'since'>,
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  if (tables.length === 0) return found;
  /** Databases of which there is a snapshot from before the time. */
  const known = new Set<bigint>();
  for (const { name, end } of (await listLogNotes(repository, database, 'names')).reverse()) {
    if (known.has(end)) continue;
    const text = Buffer.from(await openLogNote(repository, name)).toString('utf8');
    const snapshot = parseCatalogSnapshot(text, name);
    if (since !== undefined && Date.parse(snapshot.taken) * 1000 < since) known.add(end);
    for (const key of partitionsIn(snapshot, tables)) found.add(key);
  }
  return found;
}

/** Pure. */
export function partitionsIn(snapshot: CatalogSnapshot, tables: readonly string[]): string[] {
  const schemas = new Map(snapshot.schemas);
  const relations = new Map(
    snapshot.relations.map(([oid, schema, name, , , file]) => [
      oid,
      { database: snapshot.database.name, oid, schema: schemas.get(schema), name, file },
    ]),
  );
  const children = new Map<number, number[]>();
  for (const [child, parent] of snapshot.children)
    children.set(parent, [...(children.get(parent) ?? []), child]);
  const found = new Set<number>();
  const add = (oid: number): void => {
    for (const child of children.get(oid) ?? []) {
      if (found.has(child)) continue;
      found.add(child);
      add(child);
    }
  };
  for (const parent of children.keys()) {
    const table = relations.get(parent);
    if (table && tables.some((wanted) => isNamed(table, wanted))) add(parent);
  }
  return [...found].flatMap((oid) => {
    const table = relations.get(oid);
    return table ? partitionKeys(table) : [];
  });
}
