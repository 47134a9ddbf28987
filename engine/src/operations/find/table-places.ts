/**
 * Where a table is, as WAL does not say: its rows are in its partitions, and it goes with its database, of whose drop WAL has only
 * the number.
 */
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import type { CatalogSnapshot } from '../../postgres/index.ts';
import { type LogNote, listLogNotes, type Repository } from '../../repository/index.ts';
import { mapParallel } from '../../streams/index.ts';
import { openCatalogNames } from '../wal/catalog-names.ts';
import { type FindFilter, isNamed, partitionKeys } from './find-filter.ts';

export interface TablePlaces {
  /** All that were its partitions, at any depth, also children by inheritance; as `partitionKeys` names them. */
  readonly partitions: ReadonlySet<string>;
  /** Names of the databases that had it. */
  readonly databases: ReadonlySet<string>;
}

export interface TablePlacesOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly filter: Pick<FindFilter, 'tables' | 'since' | 'xid'>;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Snapshots that are read at a time. */
const readers = 4;

/**
 * Of the tables that are looked for, in the time that is looked through, by the catalog snapshots that were stored beside WAL. One
 * that is damaged is told, and left out.
 */
export async function tablePlaces(options: TablePlacesOptions): Promise<TablePlaces> {
  const { repository, database, filter, progress, signal } = options;
  const { tables, since, xid } = filter;
  const [partitions, databases] = [new Set<string>(), new Set<string>()];
  const found = { partitions, databases };
  // A transaction is found by its number whatever it changed.
  if (tables.length === 0 || xid !== undefined) return found;
  const notes = (await listLogNotes(repository, database, 'names')).reverse();
  /** Of which there is a snapshot from before the time: timelines and databases. */
  const known = new Set<string>();
  const wanted = function* () {
    for (const note of notes) if (!known.has(keyOf(note))) yield note;
  };
  const read = async (note: LogNote) => {
    signal.throwIfAborted();
    return { note, snapshot: await snapshotOf(repository, note, progress) };
  };
  for await (const { note, snapshot } of mapParallel(wanted(), readers, read)) {
    if (!snapshot || known.has(keyOf(note))) continue;
    if (since !== undefined && Date.parse(snapshot.taken) * 1000 < since) known.add(keyOf(note));
    const places = placesIn(snapshot, tables);
    for (const key of places.partitions) partitions.add(key);
    if (places.isThere) databases.add(snapshot.database.name);
  }
  return found;
}

/** Of names `end` is the database's oid. */
function keyOf({ line, end }: LogNote): string {
  return `${line} ${end}`;
}

async function snapshotOf(
  repository: Repository,
  note: LogNote,
  progress: Progress,
): Promise<CatalogSnapshot | undefined> {
  try {
    return await openCatalogNames(repository, note);
  } catch (thrown) {
    // One that names a key which the repository never had is a changed one.
    const isDamaged =
      thrown instanceof HelvinoError && ['REPOSITORY_DAMAGED', 'KEY_WRONG'].includes(thrown.code);
    if (!isDamaged) throw thrown;
    progress.note('warn', `what only ${note.name} knows of tables is not found: ${thrown.message}`);
    return undefined;
  }
}

/** `isThere`: the database has one of the tables. Pure. */
function placesIn(
  snapshot: CatalogSnapshot,
  tables: readonly string[],
): { partitions: string[]; isThere: boolean } {
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
  let isThere = false;
  for (const [oid, table] of relations) {
    if (!tables.some((wanted) => isNamed(table, wanted))) continue;
    isThere = true;
    add(oid);
  }
  const partitions = [...found].flatMap((oid) => {
    const table = relations.get(oid);
    return table ? partitionKeys(table) : [];
  });
  return { partitions, isThere };
}
