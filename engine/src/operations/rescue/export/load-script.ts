/** The script with which psql alone loads an exported folder. */
import { quoteIdentifier } from '../../../postgres/index.ts';
import { column, sameValue } from '../row-sql.ts';
import type { ReferenceModel, SchemaModel } from '../schema-model.ts';
import type { ExportedTable, ExportManifest } from './manifest.ts';

/** For `psql -f load.sql`, from within the folder. */
export function loadScript(manifest: ExportManifest, model: SchemaModel): string {
  const filled = manifest.tables
    .map((table, index) => ({ table, stage: `helvino_${index + 1}` }))
    .filter(({ table }) => table.own !== null || table.shared !== null);
  const order = new Map(filled.map(({ table }, index) => [idOf(table), index]));
  const late = model.references.filter((reference) => comesLate(reference, order));
  return [
    ...preamble(manifest),
    ...filled.flatMap((one) => stageAndInsert(one, lateColumns(one.table, late, model))),
    ...filled.flatMap((one) => setLate(one, lateColumns(one.table, late, model), model)),
    ...filled.flatMap((one) => forward(one, model)),
    'commit;',
    '',
  ].join('\n');
}

interface Staged {
  readonly table: ExportedTable;
  /** A temporary table. */
  readonly stage: string;
}

function idOf({ schema, name }: ExportedTable): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}

/** To a table that is filled later, and checked at once: such a column is set at the end. */
function comesLate(
  { child, parent, enforced, deferrable }: ReferenceModel,
  order: ReadonlyMap<string, number>,
): boolean {
  const [from, to] = [order.get(child), order.get(parent)];
  return enforced && !deferrable && from !== undefined && to !== undefined && to > from;
}

/** Columns that may be null for a while, so neither of the key nor NOT NULL. */
function lateColumns(table: ExportedTable, late: readonly ReferenceModel[], model: SchemaModel): Set<string> {
  const id = idOf(table);
  const nullable = (name: string) => {
    const column = model.tables.get(id)!.columns.find((one) => one.name === name)!;
    return !column.notNull && !table.key?.includes(name);
  };
  return new Set(
    late.filter(({ child }) => child === id).flatMap(({ childColumns }) => childColumns.filter(nullable)),
  );
}

function preamble({ root, moment, source, made, program }: ExportManifest): string[] {
  const where = Object.entries(root.where).map(([name, value]) => `${name} = ${value}`);
  return [
    `-- Rows of ${oneLine(root.table)} where ${oneLine(where.join(' and '))}, as of ${oneLine(moment)}, and all that belongs to them.`,
    `-- Exported ${made} from the database ${oneLine(source.database)} by ${oneLine(program)}.`,
    '-- Load them from within this folder into a database that has the tables:',
    '--   psql -X -v ON_ERROR_STOP=1 -f load.sql postgresql://role@host/database',
    '-- It is one transaction: when a row of the organization is there already, nothing is changed. Rows that others share are',
    '-- added only where they are missing. Triggers fire; a superuser can put SET session_replication_role = replica before.',
    '\\set ON_ERROR_STOP on',
    'begin;',
    `set local client_encoding = 'UTF8';`,
    `set local standard_conforming_strings = on;`,
    `set local datestyle = 'ISO, YMD';`,
    `set local intervalstyle = 'postgres';`,
    `set local timezone = 'UTC';`,
    `set local lc_monetary = 'C';`,
    `set local xmloption = 'content';`,
    `set local search_path = pg_catalog;`,
    'set constraints all deferred;',
    '',
  ];
}

function oneLine(text: string): string {
  return text.replace(/[\r\n]+/g, ' ');
}

function stageAndInsert({ table, stage }: Staged, late: ReadonlySet<string>): string[] {
  const names = table.columns.map(({ name }) => quoteIdentifier(name)).join(', ');
  const values = table.columns.map(({ name, type }) =>
    late.has(name) ? `null::${type}` : quoteIdentifier(name),
  );
  const into = `insert into ${idOf(table)} (${names}) overriding system value select ${values.join(', ')} from pg_temp.${stage}`;
  const lines = [`-- ${oneLine(table.schema)}.${oneLine(table.name)}`];
  const load = (name: string, file: string) =>
    lines.push(
      `create temporary table ${name} as select ${names} from ${idOf(table)} with no data;`,
      `\\copy pg_temp.${name} from '${file}' with (format csv, header)`,
    );
  if (table.shared) {
    load(`${stage}_shared`, table.shared.file);
    const shared = table.columns.map(({ name }) => quoteIdentifier(name)).join(', ');
    lines.push(
      `insert into ${idOf(table)} (${names}) overriding system value select ${shared} from pg_temp.${stage}_shared on conflict do nothing;`,
    );
  }
  if (table.own) {
    load(stage, table.own.file);
    lines.push(`${into};`);
  }
  return [...lines, ''];
}

function setLate({ table, stage }: Staged, late: ReadonlySet<string>, model: SchemaModel): string[] {
  if (late.size === 0 || table.own === null || table.key === null) return [];
  const own = model.tables.get(idOf(table))!;
  const sets = [...late].map((name) => `${quoteIdentifier(name)} = s.${quoteIdentifier(name)}`);
  const same = table.key.map((name) => sameValue(own, name, column('t', name), column('s', name)));
  const some = [...late].map((name) => `s.${quoteIdentifier(name)} is not null`);
  return [
    `update ${idOf(table)} t set ${sets.join(', ')} from pg_temp.${stage} s where ${same.join(' and ')} and (${some.join(' or ')});`,
  ];
}

/** Sequences only go forward: one step at least, beyond the greatest number that came. */
function forward({ table, stage }: Staged, model: SchemaModel): string[] {
  const lines: string[] = [];
  for (const { name, sequence } of model.tables.get(idOf(table))!.columns) {
    if (sequence === undefined || !table.columns.some((column) => column.name === name)) continue;
    const place = `'${sequence.replaceAll("'", "''")}'`;
    for (const [file, from] of [
      [table.own, stage],
      [table.shared, `${stage}_shared`],
    ] as const)
      if (file)
        lines.push(
          `select setval(${place}, greatest(nextval(${place}), (select max(${quoteIdentifier(name)}) from pg_temp.${from})));`,
        );
  }
  return lines;
}
