/** Which rows `--root TABLE --key VALUE` means. */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';
import { query } from '../../postgres/index.ts';
import { findTable, readSchema } from './read-schema.ts';
import { from } from './row-sql.ts';
import { type RescueRoot, type TableModel, tableName } from './schema-model.ts';

/** Throws USAGE: which column a bare key means is known only when it is unique there and finds a row. */
export async function resolveRoot(
  client: Client,
  { table: name, keys }: { readonly table: string; readonly keys: readonly string[] },
): Promise<RescueRoot> {
  const { tables } = await readSchema(client);
  const table = findTable(tables, name);
  const where: Record<string, string> = {};
  for (const key of keys) {
    const at = key.indexOf('=');
    const column = at > 0 ? key.slice(0, at) : undefined;
    if (column !== undefined && table.columns.some((one) => one.name === column))
      where[column] = key.slice(at + 1);
    else if (keys.length === 1) where[await columnOfKey(client, table, key)] = key;
    else
      throw new HelvinoError('USAGE', `"${key}" names no column of ${tableName(table)}`, {
        hint: '--key COLUMN=VALUE',
      });
  }
  return { table: table.id, where };
}

async function columnOfKey(client: Client, table: TableModel, value: string): Promise<string> {
  const single = [
    ...(table.key?.length === 1 ? [table.key[0]!] : []),
    ...table.uniques
      .filter(({ expressions, predicate, operators }) => expressions.length === 1 && !predicate && !operators)
      .flatMap(({ expressions }) =>
        table.columns.filter(
          ({ name }) => expressions[0] === name || expressions[0] === client.escapeIdentifier(name),
        ),
      )
      .map(({ name }) => name),
  ];
  const found: string[] = [];
  for (const column of single) {
    const [row] = await query<{ there: boolean }>(
      client,
      `select exists (select from ${from(table)} t where t.${client.escapeIdentifier(column)}::text = $1) as there`,
      [value],
    );
    if (row!.there) found.push(column);
  }
  if (found.length === 1) return found[0]!;
  throw new HelvinoError(
    'USAGE',
    found.length === 0
      ? `no row of ${tableName(table)} had ${single.join(' or ') || 'a unique column'} = ${value}`
      : `${value} is a value of ${found.join(' and ')} of ${tableName(table)}`,
    {
      hint: `--key COLUMN=VALUE, with a column of ${tableName(table)}; and a moment at which it was still there`,
    },
  );
}
