/** Which tables and columns can go from before to now. What cannot is said, in words. */
import { HelvinoError } from '../../base/errors.ts';
import { reachableTables } from './closure.ts';
import { findTable } from './read-schema.ts';
import { columnOf } from './row-sql.ts';
import {
  type ColumnModel,
  type RescueRoot,
  type SchemaModel,
  type TableId,
  type TableModel,
  tableName,
} from './schema-model.ts';
import { inReferenceOrder } from './table-order.ts';

/** A table that is in both. Both models have the same key. */
export interface TablePair {
  readonly id: TableId;
  readonly number: number;
  readonly before: TableModel;
  readonly now: TableModel;
  /** In both, and written by nobody but their owners: what is compared and written. */
  readonly columns: readonly string[];
  /** Rows may belong to the root; else rows are only referred to. */
  readonly down: boolean;
}

export interface Comparison {
  /** Those that are referred to first. */
  readonly pairs: readonly TablePair[];
  /** The models with only these tables, their common keys, and the references between them. */
  readonly before: SchemaModel;
  readonly now: SchemaModel;
  /** Only in the past, or under another name now. */
  readonly gone: readonly GoneTable[];
  /** Differences that `onSchemaChange` decides of. */
  readonly changes: readonly string[];
  /** Differences that nothing helps against. */
  readonly problems: readonly string[];
  readonly notes: readonly string[];
}

export interface GoneTable {
  readonly table: TableModel;
  /** What it is called now. */
  readonly called: string | undefined;
}

interface Findings {
  readonly changes: string[];
  readonly problems: string[];
  readonly notes: string[];
}

export function compareSchemas(before: SchemaModel, now: SchemaModel, root: RescueRoot): Comparison {
  const findings: Findings = { changes: [], problems: [], notes: [] };
  const start = findTable(before.tables, root.table);
  if (!now.tables.has(start.id)) throw goneRoot(start, calledNow(start, now));
  const past = reachableTables(before, start.id);
  const present = reachableTables(now, start.id);
  const down = new Set([...past.down, ...present.down]);
  const all = [...new Set([...past.all, ...present.all])].sort();
  const kept: Omit<TablePair, 'number'>[] = [];
  const gone: GoneTable[] = [];
  for (const id of all) {
    const [then, today] = [before.tables.get(id), now.tables.get(id)];
    // What rows only referred to they refer to no more.
    if (then && !today && down.has(id)) gone.push({ table: then, called: calledNow(then, now) });
    else if (today && !then)
      findings.notes.push(`${tableName(today)} is new since then: its rows are left as they are`);
    else if (then && today) {
      const pair = pairOf({ then, today, down: down.has(id) }, findings);
      if (pair) kept.push(pair);
    }
  }
  if (!kept.some(({ id }) => id === start.id))
    throw new HelvinoError('USAGE', findings.notes.find((note) => note.startsWith(`${tableName(start)} `))!, {
      hint: 'a root must be a table whose rows are in backups and can be compared',
    });
  const pairs = numbered(now, kept);
  return {
    pairs,
    before: narrowed(before, pairs, 'before'),
    now: narrowed(now, pairs, 'now'),
    gone,
    ...findings,
  };
}

/** By its OID, which says nothing between two clusters: so its columns must be there, too. */
function calledNow({ oid, columns }: TableModel, { tables }: SchemaModel): string | undefined {
  const found = [...tables.values()].find((table) => table.oid === oid);
  const same = columns.every(({ name }) => found?.columns.some((one) => one.name === name));
  return found && same ? tableName(found) : undefined;
}

function goneRoot(table: TableModel, called: string | undefined): HelvinoError {
  const [what, hint] = called
    ? [`is called ${called} now`, 'give it its old name and schema back for the rescue']
    : ['is not there any more', 'make it again first'];
  return new HelvinoError('USAGE', `${tableName(table)} ${what}`, { hint });
}

function pairOf(
  { then, today, down }: { then: TableModel; today: TableModel; down: boolean },
  findings: Findings,
): Omit<TablePair, 'number'> | undefined {
  const { problems, notes } = findings;
  const name = tableName(today);
  if (then.rowsIn === undefined && (then.unlogged || today.unlogged)) {
    notes.push(
      `${name} is unlogged, so its rows are in no backup: they cannot be compared, and are left as they are, with rows that belong only through them`,
    );
    return undefined;
  }
  const known = problems.length;
  const columns = commonColumns(then, today, findings);
  if (columns.length === 0) {
    notes.push(`${name} has no column that can be compared: its rows are left as they are`);
    return undefined;
  }
  const key = commonKey(then, today, columns);
  const unlike = today.key?.filter((one) => !columns.includes(one)) ?? [];
  if (unlike.length > 0 && problems.length === known)
    problems.push(
      `${name} has another key now: ${unlike.join(', ')} was added since then, so its rows cannot be found again`,
    );
  else if (unlike.length === 0 && key === undefined) {
    notes.push(`${name} has no key: its rows are told apart by their whole content`);
    const added = today.columns.find((one) => !one.generated && !columns.includes(one.name));
    if (added)
      problems.push(
        `${name} has no key, and ${added.name} was added since then: its rows cannot be found again`,
      );
  }
  return { id: today.id, before: { ...then, key }, now: { ...today, key }, columns, down };
}

function commonColumns(then: TableModel, today: TableModel, { changes, problems }: Findings): string[] {
  const name = tableName(today);
  const columns: string[] = [];
  const renamed = new Set<ColumnModel>();
  for (const column of today.columns) {
    const old = then.columns.find((one) => one.name === column.name);
    if (column.generated) {
      if (old && !old.generated)
        changes.push(`${name}.${column.name} is computed now: its values stay in the past`);
      continue;
    }
    const other = old ? undefined : otherName(column, then, today);
    if (other) {
      renamed.add(other);
      const needed = today.key?.includes(column.name) || isRequired(column);
      (needed ? problems : changes).push(
        `${name}.${other.name} is called ${column.name} now: give it its old name back for the rescue${needed ? '' : ', or its values stay in the past'}`,
      );
    } else if (!old || old.generated) changes.push(...addedColumn(name, column, problems));
    else if (typeClass(old.base) === typeClass(column.base)) {
      columns.push(column.name);
      if (today.key?.includes(column.name) && tellsApartOtherwise(old, column))
        problems.push(
          `${name}.${column.name} is compared by the collation ${column.collation} now, and was by ${old.collation}: give it its old one back for the rescue`,
        );
      if (printsOtherwise(old, column))
        changes.push(
          `${name}.${column.name} was ${old.type} and is ${column.type} now: values are rounded or padded`,
        );
    } else problems.push(`${name}.${column.name} was ${old.type} and is ${column.type} now`);
  }
  for (const old of then.columns) {
    if (old.generated || renamed.has(old) || today.columns.some((one) => one.name === old.name)) continue;
    changes.push(`${name}.${old.name} was dropped since then: its values stay in the past`);
  }
  return columns;
}

function addedColumn(table: string, column: ColumnModel, problems: string[]): string[] {
  if (isRequired(column)) {
    problems.push(`${table}.${column.name} was added since then, is NOT NULL and has no default`);
    return [];
  }
  return [`${table}.${column.name} was added since then: rows that come back get its default`];
}

function isRequired({ notNull, hasDefault, identity }: ColumnModel): boolean {
  return notNull && !hasDefault && identity === undefined;
}

/** The same column under the name that it had before. */
function otherName(column: ColumnModel, then: TableModel, today: TableModel): ColumnModel | undefined {
  if (then.oid !== today.oid) return undefined;
  return then.columns.find(
    ({ name, number, base, generated }) =>
      number === column.number &&
      number !== undefined &&
      !generated &&
      typeClass(base) === typeClass(column.base) &&
      !today.columns.some((one) => one.name === name),
  );
}

/** Types whose values print alike, whatever their length or width. Others must be the same, but for modifiers. */
function typeClass(type: string): string {
  const plain = type.replace(/\([^)]*\)/g, '');
  if (/^(smallint|integer|bigint)$/.test(plain)) return 'integer';
  if (/^(text|character varying)$/.test(plain)) return 'text';
  return plain;
}

/** Of these types length and precision change what is stored, without an error. */
function printsOtherwise({ base: old }: ColumnModel, { base: now }: ColumnModel): boolean {
  return old !== now && /^(numeric|timestamp|time|interval|character(?! varying))/.test(now);
}

function tellsApartOtherwise(old: ColumnModel, now: ColumnModel): boolean {
  return old.collation !== now.collation && !(old.exact && now.exact);
}

/** Now's key, if it was one before, too. */
function commonKey(
  then: TableModel,
  today: TableModel,
  columns: readonly string[],
): readonly string[] | undefined {
  const key = today.key;
  if (key === undefined || key.some((name) => !columns.includes(name))) return undefined;
  return identifies(then, key) ? key : undefined;
}

/** No two rows of the table have the same in these columns, and none has nothing there. */
export function identifies(table: TableModel, key: readonly string[]): boolean {
  const same = (names: readonly string[]) =>
    names.length === key.length && names.every((name) => key.includes(name));
  if (table.key && same(table.key)) return true;
  const unique = table.uniques.some(({ columns: own }) => own && same(own));
  return unique && key.every((name) => columnOf(table, name).notNull);
}

/** A third model, with the keys of the pairs: tables that lack a column that is compared are not in it. */
export function narrowTo(model: SchemaModel, pairs: readonly TablePair[]): SchemaModel {
  const kept = pairs.flatMap((pair) => {
    const table = model.tables.get(pair.id);
    if (!table || pair.columns.some((name) => !table.columns.some((one) => one.name === name))) return [];
    return { ...pair, before: { ...table, key: pair.now.key } };
  });
  return narrowed(model, kept, 'before');
}

function narrowed(model: SchemaModel, pairs: readonly TablePair[], side: 'before' | 'now'): SchemaModel {
  const tables = new Map(pairs.map((pair) => [pair.id, pair[side]]));
  // A foreign key may be on a computed column, too.
  const columns = new Map(
    pairs.map(({ id, before, now }) => {
      const inBoth = before.columns.filter((old) =>
        now.columns.some((one) => one.name === old.name && typeClass(one.base) === typeClass(old.base)),
      );
      return [id, new Set(inBoth.map(({ name }) => name))];
    }),
  );
  const has = (id: TableId, names: readonly string[]) => names.every((name) => columns.get(id)?.has(name));
  return {
    tables,
    references: model.references.filter(
      ({ child, parent, childColumns, parentColumns, when }) =>
        has(child, [...childColumns, ...Object.keys(when)]) && has(parent, parentColumns),
    ),
  };
}

function numbered(model: SchemaModel, pairs: readonly Omit<TablePair, 'number'>[]): TablePair[] {
  const ids = inReferenceOrder(
    model,
    pairs.map(({ id }) => id),
  );
  const rank = new Map(ids.map((id, index) => [id, index]));
  return pairs
    .toSorted((a, b) => rank.get(a.id)! - rank.get(b.id)!)
    .map((pair, number) => ({ ...pair, number }));
}
