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
  /** Only in the past. */
  readonly gone: readonly TableModel[];
  /** Differences that `onSchemaChange` decides of. */
  readonly changes: readonly string[];
  /** Differences that nothing helps against. */
  readonly problems: readonly string[];
  readonly notes: readonly string[];
}

interface Findings {
  readonly changes: string[];
  readonly problems: string[];
  readonly notes: string[];
}

export function compareSchemas(before: SchemaModel, now: SchemaModel, root: RescueRoot): Comparison {
  const findings: Findings = { changes: [], problems: [], notes: [] };
  const start = findTable(before.tables, root.table);
  const past = reachableTables(before, start.id);
  const present = reachableTables(now, findTable(now.tables, root.table).id);
  const down = new Set([...past.down, ...present.down]);
  const all = [...new Set([...past.all, ...present.all])].sort();
  const kept: Omit<TablePair, 'number'>[] = [];
  const gone: TableModel[] = [];
  for (const id of all) {
    const [then, today] = [before.tables.get(id), now.tables.get(id)];
    // What rows only referred to they refer to no more.
    if (then && !today && down.has(id)) gone.push(then);
    else if (today && !then)
      findings.notes.push(`${tableName(today)} is new since then: its rows are left as they are`);
    else if (then && today) {
      const pair = pairOf({ then, today, down: down.has(id) }, findings);
      if (pair) kept.push(pair);
    }
  }
  if (now.tables.has(start.id) && !kept.some(({ id }) => id === start.id))
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

function pairOf(
  { then, today, down }: { then: TableModel; today: TableModel; down: boolean },
  { changes, problems, notes }: Findings,
): Omit<TablePair, 'number'> | undefined {
  const name = tableName(today);
  if (then.rowsIn === undefined && (then.unlogged || today.unlogged)) {
    notes.push(
      `${name} is unlogged, so its rows are in no backup: they cannot be compared, and are left as they are, with rows that belong only through them`,
    );
    return undefined;
  }
  const columns: string[] = [];
  for (const column of today.columns) {
    const old = then.columns.find((one) => one.name === column.name);
    if (column.generated) {
      if (old && !old.generated)
        changes.push(`${name}.${column.name} is computed now: its values stay in the past`);
      continue;
    }
    if (!old || old.generated) changes.push(...addedColumn(name, column, problems));
    else if (typeClass(old.base) === typeClass(column.base)) {
      columns.push(column.name);
      if (printsOtherwise(old, column))
        changes.push(
          `${name}.${column.name} was ${old.type} and is ${column.type} now: values are rounded or padded`,
        );
    } else problems.push(`${name}.${column.name} was ${old.type} and is ${column.type} now`);
  }
  for (const old of then.columns) {
    if (old.generated || today.columns.some((one) => one.name === old.name)) continue;
    changes.push(`${name}.${old.name} was dropped since then: its values stay in the past`);
  }
  if (columns.length === 0) {
    notes.push(`${name} has no column that can be compared: its rows are left as they are`);
    return undefined;
  }
  const key = commonKey(then, today, columns);
  if (key === undefined) {
    notes.push(`${name} has no key: its rows are told apart by their whole content`);
    const added = today.columns.find((one) => !one.generated && !columns.includes(one.name));
    if (added)
      problems.push(
        `${name} has no key, and ${added.name} was added since then: its rows cannot be found again`,
      );
  }
  return { id: today.id, before: { ...then, key }, now: { ...today, key }, columns, down };
}

function addedColumn(table: string, column: ColumnModel, problems: string[]): string[] {
  if (column.notNull && !column.hasDefault && column.identity === undefined) {
    problems.push(`${table}.${column.name} was added since then, is NOT NULL and has no default`);
    return [];
  }
  return [`${table}.${column.name} was added since then: rows that come back get its default`];
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

/** Now's key, if it was one before, too. */
function commonKey(
  then: TableModel,
  today: TableModel,
  columns: readonly string[],
): readonly string[] | undefined {
  const key = today.key;
  if (key === undefined || key.some((name) => !columns.includes(name))) return undefined;
  const same = (names: readonly string[]) =>
    names.length === key.length && names.every((name) => key.includes(name));
  if (then.key && same(then.key)) return key;
  const unique = then.uniques.some(({ columns: own }) => own && same(own));
  return unique && key.every((name) => columnOf(then, name).notNull) ? key : undefined;
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
