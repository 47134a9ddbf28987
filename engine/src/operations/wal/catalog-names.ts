/** Catalog snapshots of a server's databases, stored beside the log, so that WAL records have names. */
import {
  type CatalogSnapshot,
  type ConnectionParams,
  parseCatalogSnapshot,
  takeCatalogSnapshot,
  withSql,
} from '../../postgres/index.ts';
import {
  type LogNote,
  listLogNotes,
  openLogNote,
  putLogNote,
  type Repository,
} from '../../repository/index.ts';

export interface StoreNamesOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly connection: ConnectionParams;
  readonly timeline: number;
  /** Names of the server's databases that can be connected to. */
  readonly databases: readonly string[];
  readonly signal: AbortSignal;
}

/** Takes a snapshot of each database and stores it. Databases that cannot be looked into are left out. */
export async function storeCatalogNames(options: StoreNamesOptions): Promise<CatalogSnapshot[]> {
  const snapshots: CatalogSnapshot[] = [];
  for (const name of options.databases) {
    const snapshot = await snapshotOf(options, name);
    if (!snapshot) continue;
    await putLogNote(options.repository, {
      database: options.database,
      kind: 'names',
      line: options.timeline,
      begin: BigInt(snapshot.lsn),
      end: BigInt(snapshot.database.oid),
      bytes: Buffer.from(JSON.stringify(snapshot)),
    });
    snapshots.push(snapshot);
  }
  return snapshots;
}

/** Milliseconds. WAL waits while names are asked for, so a lock on the catalog must not hold it up. */
const lockMs = 3000;
/** A new session already reads the catalog, before it knows of any lock_timeout. */
const connectMs = 8000;

async function snapshotOf(
  { connection, signal }: StoreNamesOptions,
  database: string,
): Promise<CatalogSnapshot | undefined> {
  const soon = AbortSignal.any([signal, AbortSignal.timeout(connectMs)]);
  try {
    return await withSql(connection, { database, signal, connecting: soon }, async (sql) => {
      await sql.query(`set lock_timeout = ${lockMs}`);
      return takeCatalogSnapshot(sql);
    });
  } catch (thrown) {
    // Names are a help, not a condition.
    if (signal.aborted || thrown instanceof TypeError) throw thrown;
    return undefined;
  }
}

/** Stored snapshots of a timeline that are of use from a position on: the last before it of each database, and all behind. */
export async function readCatalogNames(
  repository: Repository,
  database: string,
  place: { timeline: number; from: bigint; to?: bigint },
): Promise<CatalogSnapshot[]> {
  const notes = (await listLogNotes(repository, database, 'names')).filter(
    (note) =>
      note.line <= place.timeline &&
      (place.to === undefined || note.begin <= place.to || note.line < place.timeline),
  );
  const wanted = new Set<LogNote>(
    notes.filter((note) => note.line === place.timeline && note.begin > place.from),
  );
  const last = new Map<bigint, LogNote>();
  for (const note of notes) if (!wanted.has(note)) last.set(note.end, note);
  // Without any before it, the first behind it is better than none.
  const snapshots: CatalogSnapshot[] = [];
  for (const note of [...last.values(), ...wanted]) snapshots.push(await openCatalogNames(repository, note));
  return snapshots;
}

/** Throws REPOSITORY_DAMAGED, KEY_WRONG. */
export async function openCatalogNames(repository: Repository, { name }: LogNote): Promise<CatalogSnapshot> {
  return parseCatalogSnapshot(Buffer.from(await openLogNote(repository, name)).toString('utf8'), name);
}
