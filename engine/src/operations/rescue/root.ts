/** Which rows `--root TABLE --key VALUE` means. */
import type { Client } from 'pg';
import { asHelvinoError, HelvinoError } from '../../base/errors.ts';
import { query } from '../../postgres/index.ts';
import { findTable, readSchema } from './read-schema.ts';
import { columnIs, from, literalOf } from './row-sql.ts';
import { type RescueRoot, type TableModel, tableName } from './schema-model.ts';
import { pinSettings, rollback } from './session.ts';

/** Throws USAGE: which column a bare key means is known only when it is unique there and finds a row. */
export async function resolveRoot(
  client: Client,
  { table: name, keys }: { readonly table: string; readonly keys: readonly string[] },
): Promise<RescueRoot> {
  await query(client, 'begin read only');
  try {
    await pinSettings(client);
    const { tables } = await readSchema(client);
    const table = findTable(tables, name);
    return { table: table.id, where: await conditions(client, table, keys) };
  } finally {
    await rollback(client);
  }
}

async function conditions(
  client: Client,
  table: TableModel,
  keys: readonly string[],
): Promise<Record<string, string>> {
  const where: Record<string, string> = {};
  for (const key of keys) {
    const at = key.indexOf('=');
    const name = at > 0 ? key.slice(0, at) : undefined;
    if (name !== undefined && table.columns.some((one) => one.name === name)) where[name] = key.slice(at + 1);
    else if (keys.length === 1) where[await columnOfKey(client, table, key)] = key;
    else
      throw new HelvinoError('USAGE', `"${key}" names no column of ${tableName(table)}`, {
        hint: '--key COLUMN=VALUE',
      });
  }
  return where;
}

async function columnOfKey(client: Client, table: TableModel, value: string): Promise<string> {
  const unique = [table.key ?? [], ...table.uniques.map(({ columns }) => columns ?? [])];
  const single = [...new Set(unique.filter((columns) => columns.length === 1).flat())];
  const found: string[] = [];
  for (const name of single) if (await hasValue(client, table, { name, value })) found.push(name);
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

async function hasValue(
  client: Client,
  table: TableModel,
  { name, value }: { readonly name: string; readonly value: string },
): Promise<boolean> {
  if (!(await isValue(client, literalOf(table, name, value)))) return false;
  const [row] = await query<{ there: boolean }>(
    client,
    `select exists (select from ${from(table)} t where ${columnIs(table, name, value)}) as there`,
  );
  return row!.there;
}

/** A text that is no value of the column's type is the value of no row. What types say of it, and with what code, is their own affair. */
async function isValue(client: Client, literal: string): Promise<boolean> {
  await query(client, 'savepoint helvino_key');
  try {
    await query(client, `select ${literal}`);
    return true;
  } catch (thrown) {
    const { code, context } = asHelvinoError(thrown);
    if (code === 'SERVER_GONE' || String(context.sqlstate).startsWith('57')) throw thrown;
    await query(client, 'rollback to savepoint helvino_key');
    return false;
  }
}
