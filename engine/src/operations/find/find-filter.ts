/** Which transactions are looked for. Pure. */
import type { IndexedTransaction, RelationChange } from '../../postgres/index.ts';

export interface FindFilter {
  /** Microseconds since 1970, both included. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  /** `table`, `schema.table` or `database.schema.table`, `*` in it for anything; empty: any. */
  readonly tables: readonly string[];
  /** Partitions of those, as `partitionKeys` names them. */
  readonly partitions?: ReadonlySet<string> | undefined;
  /** Names of the databases that had one of those. */
  readonly databases?: ReadonlySet<string> | undefined;
  readonly xid?: number | undefined;
  /** Of these, one has to hold; none given: any change will do. */
  readonly drops: boolean;
  readonly truncates: boolean;
  readonly deletesOver?: number | undefined;
  readonly updatesOver?: number | undefined;
  /** Also transactions that changed no user table. */
  readonly all: boolean;
}

export function matches(transaction: IndexedTransaction, filter: FindFilter): boolean {
  const { since, until, xid, all } = filter;
  if (since !== undefined && transaction.time < since) return false;
  if (until !== undefined && transaction.time > until) return false;
  if (xid !== undefined) return transaction.xid === xid;
  const mayDrop = filter.drops || !hasKinds(filter);
  if (mayDrop && transaction.droppedDatabases.some((name) => hasTable(name, filter))) return true;
  if (changesMatch(transaction.changes, filter)) return true;
  return all && !hasKinds(filter) && filter.tables.length === 0;
}

/** Whether what is looked for went with the database. */
function hasTable(database: string, { tables, databases }: FindFilter): boolean {
  return tables.length === 0 || databases?.has(database) === true;
}

function hasKinds({ drops, truncates, deletesOver, updatesOver }: FindFilter): boolean {
  return drops || truncates || deletesOver !== undefined || updatesOver !== undefined;
}

/** Rows are counted over all that is asked for: those of a partitioned table are its partitions'. */
function changesMatch(changes: readonly RelationChange[], filter: FindFilter): boolean {
  const asked = filter.tables.length > 0 ? changes.filter((change) => isOf(change, filter)) : changes;
  if (!hasKinds(filter)) return asked.length > 0;
  const { drops, truncates, deletesOver, updatesOver } = filter;
  const rows = (kind: 'deleted' | 'updated') => asked.reduce((sum, change) => sum + change[kind], 0);
  return (
    asked.some((change) => (drops && change.dropped) || (truncates && change.truncated)) ||
    (deletesOver !== undefined && rows('deleted') > deletesOver) ||
    (updatesOver !== undefined && rows('updated') > updatesOver)
  );
}

function isOf(change: RelationChange, { tables, partitions }: FindFilter): boolean {
  if (tables.some((name) => isNamed(change, name))) return true;
  return partitions !== undefined && partitionKeys(change).some((key) => partitions.has(key));
}

/** By oid while it is there, which outlives its name; and by name, as what was found in WAL may be without an oid. */
export function partitionKeys(table: Pick<RelationChange, 'database' | 'schema' | 'name' | 'oid'>): string[] {
  const { database, schema, name, oid } = table;
  return [
    ...(oid === undefined ? [] : [JSON.stringify([database, oid])]),
    ...(name === undefined || schema === undefined ? [] : [JSON.stringify([database, schema, name])]),
  ];
}

/** While the schema is not known (it is newer than the last catalog snapshot), any will do: better one too many than a miss. */
export function isNamed(
  {
    database,
    schema,
    name,
    file,
    oid,
  }: Pick<RelationChange, 'database' | 'schema' | 'name' | 'file' | 'oid'>,
  wanted: string,
): boolean {
  if (name === undefined) return wanted === String(oid) || wanted === String(file);
  const fits = fitting(wanted);
  if (fits(name)) return true;
  if (schema === undefined) return fits(name, wanted.slice(wanted.lastIndexOf('.') + 1));
  return fits(`${schema}.${name}`) || fits(`${database}.${schema}.${name}`);
}

/** A star stands for any text; a name that has one is itself found, too. */
function fitting(wanted: string): (name: string, pattern?: string) => boolean {
  return (name, pattern = wanted) => {
    if (name === pattern || !pattern.includes('*')) return name === pattern;
    const [first = '', ...rest] = pattern.split('*');
    const last = rest.pop() ?? '';
    if (!name.startsWith(first) || !name.endsWith(last)) return false;
    let at = first.length;
    for (const part of rest) {
      const found = name.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    return at <= name.length - last.length;
  };
}
