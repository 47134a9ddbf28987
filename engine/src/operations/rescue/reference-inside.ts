/**
 * References that are part of a column's value: elements of an array (`tag_ids[]`), values of a JSON document
 * (`payload->>'conversationId'`, `payload->'tags'[]->>'id'`). Only declared ones; values of JSON compare as text.
 * https://www.postgresql.org/docs/current/functions-json.html
 */
import { HelvinoError } from '../../base/errors.ts';
import { column, columnOf, from } from './row-sql.ts';
import { type ReferenceModel, type TableModel, tableName } from './schema-model.ts';

/** Where in the column the value is: keys and numbers on the way to the array, if there is one, and within its elements. */
export interface Inside {
  readonly path: readonly string[];
  readonly elements: boolean;
  readonly within: readonly string[];
}

const steps = `(?:\\s*->>?\\s*(?:'(?:[^']|'')*'|\\d+))*`;
const notation = new RegExp(`^(.+?)(${steps})\\s*(?:(\\[\\])(${steps}))?\\s*$`, 's');

/** A column by its name, or a place in one. Throws CONFIG_INVALID for a place that its type cannot have. */
export function parseInside(table: TableModel, text: string): { name: string; inside: Inside | undefined } {
  const has = (name: string) => table.columns.some((one) => one.name === name);
  const parts = notation.exec(text);
  if (!parts || has(text)) return { name: text, inside: undefined };
  const name = parts[1]!.replace(/^"(.*)"$/s, '$1').replaceAll('""', '"');
  if (!has(name) || name === text) return { name: text, inside: undefined };
  const inside = {
    path: keysOf(parts[2]!),
    elements: parts[3] !== undefined,
    within: keysOf(parts[4] ?? ''),
  };
  const { base } = columnOf(table, name);
  const fits =
    isJson(base) || (inside.path.length === 0 && inside.within.length === 0 && base.endsWith('[]'));
  if (!fits)
    throw new HelvinoError('CONFIG_INVALID', `${tableName(table)}.${name} is ${base}: it has no ${text}`, {
      hint: 'in `rescue.references` of helvino.yaml: -> and ->> are for json and jsonb, [] for arrays and these',
    });
  return { name, inside };
}

function keysOf(path: string): string[] {
  return [...path.matchAll(/'((?:[^']|'')*)'|(\d+)/g)].map(
    ([, key, at]) => key?.replaceAll("''", "'") ?? at!,
  );
}

/** The child's rows as `t`, once for each element of the arrays that it refers by. */
export function childRows({ inside, childColumns, childFrom }: ReferenceModel, child: TableModel): string {
  const lists = (inside ?? []).flatMap((place, index) => {
    if (!place?.elements) return [];
    const name = childColumns[index]!;
    const { base } = columnOf(child, name);
    if (!isJson(base)) return `cross join lateral unnest(${column('t', name)}) e${index}(v)`;
    const list = `${column('t', name)} #> ${textArray(place.path)}`;
    // Anything else has no elements, and to ask it for some is an error.
    return `cross join lateral ${base}_array_elements(case ${base}_typeof(${list}) when 'array' then ${list} end) e${index}(v)`;
  });
  const rows = `${from(child, childFrom)} t`;
  return lists.length === 0 ? rows : `(${rows} ${lists.join(' ')})`;
}

/** The nth value that a row of `childRows` refers by, its type without modifiers, and its collation. */
export function childValue(
  { inside, childColumns }: Pick<ReferenceModel, 'inside' | 'childColumns'>,
  child: TableModel,
  index: number,
): { readonly sql: string; readonly type: string; readonly collation: string | null } {
  const name = childColumns[index]!;
  const { plain, collation } = columnOf(child, name);
  const place = inside?.[index];
  if (place === undefined) return { sql: column('t', name), type: plain, collation };
  if (!isJson(plain)) return { sql: `e${index}.v`, type: plain.replace(/(\[\])+$/, ''), collation };
  const document = place.elements ? `e${index}.v` : column('t', name);
  const sql = `(${document} #>> ${textArray(place.elements ? place.within : place.path)})`;
  return { sql, type: 'text', collation: 'pg_catalog."default"' };
}

function isJson(type: string): boolean {
  return type === 'json' || type === 'jsonb';
}

function textArray(keys: readonly string[]): string {
  return `array[${keys.map((key) => `'${key.replaceAll("'", "''")}'`).join(', ')}]::text[]`;
}
