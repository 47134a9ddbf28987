/** Makes random schemas: see schema.ts. */
import type { Random } from './random.ts';
import {
  type ColumnSpec,
  literal,
  nameOf,
  quote,
  type ReferenceSpec,
  rootKey,
  type SchemaSpec,
  type TableSpec,
} from './schema.ts';
import { declaredTypes, ownTypes, someText, type ValueType, valueTypes } from './values.ts';

interface Making {
  readonly random: Random;
  readonly major: number;
  /** Keys have types that extensions made, too. The seed gives the same schema but for these. */
  readonly extensions: boolean;
  readonly tables: TableSpec[];
}

export function randomSchema(random: Random, major: number, extensions = false): SchemaSpec {
  const making: Making = { random, major, extensions, tables: [] };
  for (let count = random.int(1, 2); count > 0; count--) making.tables.push(makeTable(making, 'lookup'));
  const root = makeTable(making, 'root');
  making.tables.push(root);
  for (let count = random.int(3, 7); count > 0; count--) making.tables.push(makeTable(making, 'tenant'));
  if (random.chance(0.6)) making.tables.push(joinTable(making));
  if (random.chance(0.5)) making.tables.push(polymorphicTable(making));
  if (random.chance(0.3)) making.tables.push(keylessTable(making));
  if (random.chance(0.4)) addInheritance(making);
  for (let count = random.int(0, 2); count > 0; count--) addCycle(making);
  for (const table of making.tables) addTriggers(making, table);
  return { tables: making.tables, root, prelude: prelude() };
}

function prelude(): string {
  return `${declaredTypes}
  create schema "Odd ""schema""";
  create table "trigger log" (id bigserial, what text);
  create function "log it"() returns trigger language plpgsql as $$ begin
    insert into public."trigger log" (what) values (tg_table_name || ' ' || tg_op); return null; end $$;
  create function "touch it"() returns trigger language plpgsql as $$ begin
    new.touched := coalesce(new.touched, '') || '+'; return new; end $$;
  create function "refuse it"() returns trigger language plpgsql as $$ begin
    if current_setting('application.load', true) = 'on' then return new; end if;
    raise exception 'refused by a trigger'; end $$`;
}

const odd = [
  (base: string) => base,
  (base: string) => base,
  (base: string) => base.toUpperCase(),
  (base: string) => `${base} with "quotes" and 'more'`,
  (base: string) => `Ünïcode.${base}`,
  (base: string) => `order %s ${base} \\`,
  (base: string) => `${base}${'x'.repeat(60 - base.length)}`,
];

function oddName(random: Random, base: string): string {
  return random.pick(odd)(base);
}

function column(name: string, type: string, more: Partial<ColumnSpec> = {}): ColumnSpec {
  const nothing = () => {
    throw new Error(`${name} is not filled by itself`);
  };
  return {
    name,
    type,
    notNull: false,
    suffix: '',
    generated: false,
    sequence: false,
    value: nothing,
    ...more,
  };
}

type KeyKind =
  | 'identity'
  | 'serial'
  | 'plain'
  | 'uuid'
  | 'text'
  | 'two'
  | 'dated'
  | 'parent'
  | 'domain'
  | 'enum';
const keyKinds: readonly KeyKind[] = [
  'identity',
  'identity',
  'serial',
  'plain',
  'uuid',
  'text',
  'two',
  'dated',
  'parent',
  'domain',
  'enum',
];

const counted = (_random: Random, counter: number) => String(counter);
const regions = ['eu', 'us', "a'p"];

function keyColumns(making: Making, kind: KeyKind, partitioned: boolean): ColumnSpec[] {
  const { random, major, extensions } = making;
  const key = { notNull: true, value: counted };
  const id = oddName(random, 'id');
  switch (kind) {
    case 'identity': {
      if (partitioned && major < 17) return keyColumns(making, 'serial', partitioned);
      const suffix = `generated ${random.pick(['always', 'by default'])} as identity`;
      return [column(id, random.pick(['bigint', 'integer']), { ...key, suffix, sequence: true })];
    }
    case 'serial':
      return [column(id, 'bigserial', { ...key, sequence: true })];
    case 'plain':
      return [column(id, 'integer', key)];
    case 'uuid':
      return [
        column(id, 'uuid', {
          notNull: true,
          suffix: 'default gen_random_uuid()',
          value: (chance) => chance.hex(32).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
        }),
      ];
    case 'text':
      return [
        column(id, extensions ? 'citext' : 'text', {
          notNull: true,
          value: (chance, counter) => `${someText(chance).slice(0, 40)}-${counter}`,
        }),
      ];
    case 'two':
      return [
        column('region', 'text', { notNull: true, value: (chance) => chance.pick(regions) }),
        column(id, 'integer', key),
      ];
    case 'dated':
      return [
        column('day', 'date', {
          notNull: true,
          value: (_chance, counter) => `2026-0${1 + (counter % 9)}-01`,
        }),
        column(id, 'bigserial', { ...key, sequence: true }),
      ];
    case 'domain':
      // Without an operator class for hashing they cannot be a partition's, before PostgreSQL 17.
      return [column(id, extensions && !partitioned ? '"types".path' : '"types".positive', key)];
    case 'enum':
      return [
        column('mood', '"types"."Mood"', { notNull: true, value: ownTypes[0]!.value }),
        column(id, 'smallint', key),
      ];
    case 'parent':
      return [column('line', 'integer', key)];
  }
}

/** What a column that refers to it is made of. */
function plainType(type: string): string {
  return type === 'bigserial' ? 'bigint' : type;
}

function makeTable(making: Making, role: TableSpec['role']): TableSpec {
  const { random, tables } = making;
  const number = tables.length;
  const partitioned = role !== 'lookup' && random.chance(0.3);
  const kind =
    role === 'tenant' ? random.pick(keyKinds) : random.pick(keyKinds.filter((one) => one !== 'parent'));
  const key = keyColumns(making, kind, partitioned);
  const table: TableSpec = {
    schema: random.chance(0.2) ? 'Odd "schema"' : 'public',
    name: oddName(random, role === 'root' ? 'organizations' : `${role}${number}`),
    role,
    columns: [...key],
    key: key.map(({ name }) => name),
    keyClause: random.chance(0.12) ? 'unique' : 'primary key',
    references: [],
    unique: [],
    after: [],
  };
  if (role === 'root') addRootKey(table, partitioned);
  if (role === 'tenant') addParents(making, table, kind);
  if (role !== 'tenant' && random.chance(0.4)) addLookup(making, table);
  if (random.chance(role === 'tenant' ? 0.3 : 0.15)) addSelfReference(making, table);
  addValues(making, table);
  if (partitioned) addPartitions(making, table);
  else addUnique(random, table);
  if (random.chance(0.2))
    table.after.push(
      `alter table ${nameOf(table)} enable row level security, force row level security`,
      `create policy nobody on ${nameOf(table)} using (false)`,
    );
  return table;
}

function addRootKey(table: TableSpec, partitioned: boolean): void {
  table.columns.push(
    column(rootKey, 'text', { notNull: true, value: (_random, counter) => `org ${counter}` }),
  );
  if (!partitioned) table.unique.push([rootKey]);
}

interface Parenthood {
  readonly nullable: boolean;
  readonly prefix: string;
  readonly clauses?: string;
}

/** Adds the columns and the reference, and answers the columns' names. */
function refer({ random }: Making, table: TableSpec, target: TableSpec, how: Parenthood): string[] {
  const other = target.unique.find((names) => names.length === 1 && names[0] !== rootKey);
  const referenced = other && random.chance(0.3) ? other : target.key;
  const names = referenced.map((name, index) => `${how.prefix}_${index}_${name}`.slice(0, 25));
  referenced.forEach((name, index) => {
    const type = plainType(target.columns.find((one) => one.name === name)!.type);
    table.columns.push(column(names[index]!, type, { notNull: !how.nullable }));
  });
  const clauses = how.clauses ?? randomClauses(random, how.nullable, names.length);
  table.references.push({
    columns: names,
    target,
    referenced,
    enforced: true,
    nullable: how.nullable,
    clauses,
  });
  return names;
}

function randomClauses(random: Random, nullable: boolean, width: number): string {
  const actions = [
    '',
    'on delete cascade',
    'on delete cascade',
    'on delete cascade',
    'on delete restrict',
    'on delete no action',
  ];
  if (nullable) actions.push('on delete set null', 'on delete set null');
  const deferral = random.pick(['', '', '', 'deferrable', 'deferrable initially deferred']);
  const update = random.chance(0.2) ? 'on update cascade' : '';
  return [width > 1 && random.chance(0.2) ? 'match full' : '', random.pick(actions), update, deferral].join(
    ' ',
  );
}

function addParents(making: Making, table: TableSpec, kind: KeyKind): void {
  const { random, tables } = making;
  const owners = tables.filter(({ role }) => role !== 'lookup');
  const first = random.chance(0.4) ? owners[0]! : random.pick(owners);
  const inKey = kind === 'parent';
  const nullable = !inKey && random.chance(0.2);
  const names = refer(making, table, first, { nullable, prefix: 'owner' });
  if (inKey) (table.key as string[]).unshift(...names);
  if (random.chance(0.4))
    refer(making, table, random.pick(owners), { nullable: random.chance(0.6), prefix: 'second' });
  if (random.chance(0.5)) addLookup(making, table);
  if (random.chance(0.15)) addSoft(making, table, random.pick(owners));
}

function addLookup(making: Making, table: TableSpec): void {
  const lookups = making.tables.filter(({ role }) => role === 'lookup');
  if (lookups.length === 0) return;
  const clauses = making.random.pick(['', 'on delete restrict', 'on delete cascade']);
  refer(making, table, making.random.pick(lookups), {
    nullable: making.random.chance(0.5),
    prefix: 'lookup',
    clauses,
  });
}

/** A reference that only the configuration knows of. */
function addSoft(making: Making, table: TableSpec, target: TableSpec): void {
  refer(making, table, target, { nullable: true, prefix: 'soft' });
  table.references.push({ ...table.references.pop()!, enforced: false });
}

function addSelfReference(making: Making, table: TableSpec): void {
  const { random } = making;
  // A row that must refer to one of its own table: to itself, at the latest.
  const nullable =
    table.columns.some(({ sequence }) => sequence) || table.role === 'root' || random.chance(0.8);
  const names = table.key.map((name, index) => `self_${index}_${name}`.slice(0, 25));
  table.key.forEach((name, index) => {
    const type = plainType(table.columns.find((one) => one.name === name)!.type);
    table.columns.push(column(names[index]!, type, { notNull: !nullable }));
  });
  const clauses = randomClauses(random, nullable, names.length);
  table.references.push({
    columns: names,
    target: table,
    referenced: table.key,
    enforced: true,
    nullable,
    clauses,
  });
}

function addValues({ random, major }: Making, table: TableSpec): void {
  for (let count = random.int(1, 5); count > 0; count--) {
    const kind: ValueType = random.chance(0.25) ? random.pick(ownTypes) : random.pick(valueTypes);
    const name = oddName(random, `v${count}`);
    table.columns.push(column(name, kind.type, { notNull: random.chance(0.3), value: kind.value }));
  }
  table.columns.push(column('touched', 'text', { value: (chance) => chance.pick(['', 'new']) }));
  if (random.chance(0.4)) {
    const virtual = major >= 18 && random.chance(0.5);
    const suffix = `generated always as (coalesce(touched, 'none') || '!') ${virtual ? 'virtual' : 'stored'}`;
    table.columns.push(column('computed', 'text', { suffix, generated: true }));
  }
}

function addUnique(random: Random, table: TableSpec): void {
  if (!random.chance(0.4)) return;
  const code = oddName(random, 'code');
  const digits = (chance: Random) => chance.hex(16);
  // Without a primary key it must not be taken for the key.
  table.columns.push(column(code, 'text', { notNull: table.keyClause === 'primary key', value: digits }));
  table.unique.push([code]);
  if (random.chance(0.3)) {
    table.columns.push(column('slug', 'text', { value: digits }));
    const where = random.chance(0.5) ? `where touched is null or touched not like 'x%'` : '';
    table.after.push(`create unique index on ${nameOf(table)} (lower("slug")) ${where}`);
  }
}

function addPartitions({ random, major }: Making, table: TableSpec): void {
  const name = random.pick(table.key);
  const { type } = table.columns.find((one) => one.name === name)!;
  const place = (suffix: string) => `${quote(table.schema)}.${quote(`${table.name.slice(0, 50)}${suffix}`)}`;
  const part = (suffix: string, bound: string, further = '') =>
    `create table ${place(suffix)} partition of ${nameOf(table)} ${bound} ${further}`;
  const hash = `partition by hash (${quote(name)})`;
  const halves = (suffix: string, of: string) =>
    [0, 1].map(
      (rest) =>
        `create table ${place(`${suffix}_${rest}`)} partition of ${of} for values with (modulus 2, remainder ${rest})`,
    );
  const nested = random.chance(0.4);
  const rest = nested
    ? [part('_rest', 'default', hash), ...halves('_rest', place('_rest'))]
    : [part('_rest', 'default')];
  if (/int|serial|positive/.test(type)) {
    const clause = `partition by range (${quote(name)})`;
    // One that was attached, with its columns in another order.
    const other = [
      `create table ${place('_other')} (like ${nameOf(table)} including defaults including generated)`,
      `alter table ${nameOf(table)} attach partition ${place('_other')} for values from (25) to (40)`,
    ];
    table.partitions = {
      clause,
      statements: [part('_low', 'for values from (minvalue) to (10)'), ...other, ...rest],
    };
  } else if (name === 'region') {
    const clause = `partition by list (${quote(name)})`;
    table.partitions = { clause, statements: [part('_eu', `for values in ('eu')`), ...rest] };
  } else if (type === '"types".path' && major < 17) {
    table.partitions = {
      clause: `partition by list (${quote(name)})`,
      statements: [part('_rest', 'default')],
    };
  } else {
    table.partitions = { clause: hash, statements: halves('', nameOf(table)) };
  }
}

/** Many to many. */
function joinTable(making: Making): TableSpec {
  const { random, tables } = making;
  const table = bareTable(making, 'joined');
  const owners = tables.filter(({ role }) => role !== 'lookup');
  const clauses = () => random.pick(['on delete cascade', 'on delete cascade', '']);
  const first = refer(making, table, random.pick(owners), {
    nullable: false,
    prefix: 'one',
    clauses: clauses(),
  });
  const second = refer(making, table, random.pick(tables), {
    nullable: false,
    prefix: 'other',
    clauses: clauses(),
  });
  (table.key as string[]).push(...first, ...second);
  if (random.chance(0.5)) addValues(making, table);
  return table;
}

function bareTable({ random, tables }: Making, base: string): TableSpec {
  const name = oddName(random, `${base}${tables.length}`);
  const nothing = { columns: [], key: [], references: [], unique: [], after: [] };
  return { schema: 'public', name, role: 'tenant', keyClause: 'primary key', ...nothing };
}

/** A log: rows that may be twice, which nothing refers to. */
function keylessTable(making: Making): TableSpec {
  const { random, tables } = making;
  const table = bareTable(making, 'log');
  const owners = tables.filter(({ role }) => role !== 'lookup');
  refer(making, table, random.pick(owners), { nullable: random.chance(0.3), prefix: 'owner' });
  if (random.chance(0.4)) addLookup(making, table);
  table.columns.push(column('what', 'text', { value: (chance) => chance.pick(['twice', 'and again']) }));
  if (random.chance(0.3)) table.columns.push(column('data', 'json', { value: () => '{"a":  1}' }));
  return table;
}

/** Its rows refer to rows of one table or another, and no constraint says so. */
function polymorphicTable(making: Making): TableSpec {
  const { random, tables } = making;
  const table = bareTable(making, 'notes');
  const targets = random
    .shuffled(tables.filter(({ role, key }) => role === 'tenant' && key.length === 1))
    .slice(0, 2);
  table.columns.push(...keyColumns(making, 'identity', false));
  (table.key as string[]).push(table.columns[0]!.name);
  table.columns.push(
    column('subject type', 'text', { value: () => 'nothing' }),
    column('subject id', 'text', { value: () => '7' }),
  );
  for (const target of targets)
    table.references.push({
      columns: ['subject id'],
      target,
      referenced: target.key,
      enforced: false,
      when: { column: 'subject type', value: `App\\${target.name}` },
      nullable: true,
      clauses: '',
    });
  addValues(making, table);
  return table;
}

/** A child by inheritance has a key and references of its own. */
function addInheritance({ random, tables }: Making): void {
  const parents = tables.filter(
    ({ role, partitions, columns, key }) =>
      role === 'tenant' &&
      key.length > 0 &&
      !partitions &&
      !columns.some(({ suffix }) => suffix.includes('identity')),
  );
  if (parents.length === 0) return;
  const parent = random.pick(parents);
  const extra = column('heir', 'integer', { value: (chance) => String(chance.int(1, 9)) });
  const name = `heir of ${parent.name}`.slice(0, 60);
  const references: ReferenceSpec[] = parent.references.map((reference) => ({ ...reference }));
  tables.push({
    ...parent,
    name,
    parent,
    columns: [...parent.columns, extra],
    references,
    unique: [...parent.unique],
    after: [],
  });
}

/** A parent that refers back to one of its children. */
function addCycle(making: Making): void {
  const { random, tables } = making;
  const pairs = tables.flatMap((child) =>
    child.references
      .filter(
        ({ target, enforced }) =>
          enforced && target !== child && !target.parent && !tables.some(({ parent }) => parent === target),
      )
      .map(({ target }) => ({ child, target })),
  );
  const usable = pairs.filter(
    ({ child, target }) => child.key.length > 0 && !child.parent && target.role !== 'lookup',
  );
  if (usable.length === 0) return;
  const { child, target } = random.pick(usable);
  if (target.columns.some(({ name }) => name.startsWith('cycle_'))) return;
  const deferral = random.pick(['', 'deferrable', 'deferrable initially deferred']);
  const action = random.pick(['', 'on delete set null', 'on delete set null']);
  refer(making, target, child, { nullable: true, prefix: 'cycle', clauses: `${action} ${deferral}` });
}

function addTriggers({ random }: Making, table: TableSpec): void {
  const name = nameOf(table);
  if (table.columns.some(({ name: one }) => one === 'touched') && random.chance(0.3))
    table.after.push(
      `create trigger touch before insert or update on ${name} for each row execute function "touch it"()`,
    );
  if (random.chance(0.3))
    table.after.push(
      `create trigger "log" after insert or update or delete on ${name} for each row execute function "log it"()`,
    );
  if (random.chance(0.15))
    table.after.push(
      `create trigger refuse before insert on ${name} for each row execute function "refuse it"()`,
    );
  if (random.chance(0.2)) table.after.push(`comment on table ${name} is ${literal("it's a table")}`);
}
