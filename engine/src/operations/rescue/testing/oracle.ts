/**
 * What a rescue must leave behind, worked out the plain way: all rows of all moments in memory, compared as text. It shares
 * no code with the engine, and does not ask the catalog.
 */
import type pg from 'pg';
import type { TablePolicy } from '../types.ts';
import { isRow } from './population.ts';
import { list, literal, ownRowsOf, type ReferenceSpec, type SchemaSpec, type TableSpec } from './schema.ts';
import { danglingReferences, keyOf, pointerOf, type Row, rowsBy, type State, tenantRows } from './state.ts';

export interface Moments {
  readonly before: State;
  readonly accident?: State | undefined;
  readonly now: State;
}

export interface Expected {
  readonly state: State;
  /** Rows that come to be, or come to be others. */
  readonly written: number;
  readonly removed: number;
  /** Why this state cannot be. */
  readonly problems: readonly string[];
}

export function sameRow(one: Row | undefined, other: Row | undefined): boolean {
  return one !== undefined && other !== undefined && JSON.stringify(one) === JSON.stringify(other);
}

/** Rows by table and key. */
type Keyed = ReadonlyMap<TableSpec, Map<string, Row>>;

function keyed(state: State, only?: ReadonlySet<Row>): Keyed {
  return new Map(
    [...state].map(([table, rows]) => [
      table,
      rowsBy(only ? rows.filter((row) => only.has(row)) : rows, table.key),
    ]),
  );
}

/** What belongs at a later moment: also rows that belonged once, by their keys, whoever has them now. */
function laterRows(schema: SchemaSpec, state: State, [root, ...earlier]: [string, ...Keyed[]]): Keyed {
  const had = new Map(
    schema.tables.map((table) => [table, earlier.flatMap((one) => [...one.get(table)!.values()])]),
  );
  return keyed(state, tenantRows(schema, state, root, had));
}

export function expectedState(
  schema: SchemaSpec,
  moments: Moments,
  root: string,
  policy: TablePolicy,
): Expected {
  const own = keyed(moments.before, tenantRows(schema, moments.before, root));
  const then = moments.accident && laterRows(schema, moments.accident, [root, own]);
  const ownNow = laterRows(schema, moments.now, [root, own, ...(then ? [then] : [])]);
  const before = keyed(moments.before);
  const result = keyed(moments.now);
  const written: [TableSpec, Row][] = [];
  let removed = 0;
  for (const table of schema.tables) {
    const rows = result.get(table)!;
    for (const key of new Set([...own.get(table)!.keys(), ...ownNow.get(table)!.keys()])) {
      const three = {
        was: (table.key.length > 0 ? before : own).get(table)!.get(key),
        hit: then?.get(table)?.get(key),
        now: rows.get(key),
      };
      const fate = fateOf(three, policy, then !== undefined);
      if (fate === 'remove') removed += rows.delete(key) ? 1 : 0;
      if (fate !== 'put') continue;
      rows.set(key, three.was!);
      written.push([table, three.was!]);
    }
  }
  const problems = addParents(moments.before, result, written);
  const state = new Map([...result].map(([table, rows]) => [table, [...rows.values()]]));
  return {
    state,
    written: written.length,
    removed,
    problems: [...problems, ...danglingReferences(schema, state)],
  };
}

interface Three {
  readonly was: Row | undefined;
  readonly hit: Row | undefined;
  readonly now: Row | undefined;
}

/** With the moment of the accident only what it did is put right, not what came after it. */
function fateOf({ was, hit, now }: Three, policy: TablePolicy, known: boolean): 'put' | 'remove' | 'stay' {
  if (was === undefined) return policy.remove && (!known || hit !== undefined) ? 'remove' : 'stay';
  if (now === undefined) return policy.insert && (!known || hit === undefined) ? 'put' : 'stay';
  if (sameRow(was, now)) return 'stay';
  return policy.revert && (!known || sameRow(hit, now)) ? 'put' : 'stay';
}

/** What the written rows refer to must be there, and what those refer to. `written` grows. */
function addParents(before: State, result: Keyed, written: [TableSpec, Row][]): string[] {
  const problems: string[] = [];
  for (const [table, row] of written) {
    for (const reference of table.references.filter(({ enforced }) => enforced)) {
      const parent = lostParent(before, result, row, reference);
      if (parent === undefined) continue;
      const rows = result.get(reference.target)!;
      const key = keyOf(parent, reference.target.key);
      if (rows.has(key))
        problems.push(`${reference.target.name} ${key} has other values for ${list(reference.referenced)}`);
      else {
        rows.set(key, parent);
        written.push([reference.target, parent]);
      }
    }
  }
  return problems;
}

/** The row as it was that `row` refers to, when there is none now. */
function lostParent(before: State, result: Keyed, row: Row, reference: ReferenceSpec): Row | undefined {
  const pointer = pointerOf(row, reference);
  if (pointer === undefined) return undefined;
  const has = (rows: Iterable<Row>) => [...rows].find((one) => keyOf(one, reference.referenced) === pointer);
  return has(result.get(reference.target)!.values()) ? undefined : has(before.get(reference.target)!);
}

/** Lets the server try it, and takes it back: unique indexes are its own affair. */
export async function uniqueProblems(client: pg.Client, now: State, wanted: State): Promise<string[]> {
  await client.query('begin');
  try {
    await client.query('set local session_replication_role = replica');
    const inserts: string[] = [];
    for (const [table, rows] of wanted) {
      const present = rowsBy(now.get(table)!, table.key);
      const goal = rowsBy(rows, table.key);
      for (const [key, row] of present)
        if (!sameRow(row, goal.get(key))) await client.query(deletion(table, row));
      for (const [key, row] of goal) if (!sameRow(row, present.get(key))) inserts.push(insertion(table, row));
    }
    for (const statement of inserts) await client.query(statement);
    await client.query('set constraints all immediate');
    return [];
  } catch (thrown) {
    if ((thrown as { code?: string }).code !== '23505') throw thrown;
    return [String(thrown)];
  } finally {
    await client.query('rollback');
  }
}

/** One row, if it has its likes. */
function deletion(table: TableSpec, row: Row): string {
  const own = ownRowsOf(table);
  return `delete from ${own} where (tableoid, ctid) = (select tableoid, ctid from ${own} where ${isRow(table, row)} limit 1)`;
}

function insertion(table: TableSpec, row: Row): string {
  const names = table.columns.filter(({ generated }) => !generated).map(({ name }) => name);
  const values = names.map((name) => literal(row[name]!)).join(', ');
  return `insert into ${ownRowsOf(table).replace(/^only /, '')} (${list(names)}) overriding system value values (${values})`;
}

/** Lines that say what differs; empty when nothing does. */
export function differences(wanted: State, found: State): string[] {
  return [...wanted].flatMap(([table, rows]) => {
    const goal = rowsBy(rows, table.key);
    const there = rowsBy(found.get(table)!, table.key);
    const lines = [...new Set([...goal.keys(), ...there.keys()])]
      .filter((key) => !sameRow(goal.get(key), there.get(key)))
      .map((key) => `${table.name} ${key}: wanted ${short(goal.get(key))}, found ${short(there.get(key))}`);
    if (rows.length !== found.get(table)!.length && lines.length === 0)
      lines.push(`${table.name}: rows twice`);
    return lines;
  });
}

function short(row: Row | undefined): string {
  return row === undefined ? 'nothing' : JSON.stringify(row).slice(0, 600);
}
