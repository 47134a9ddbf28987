/**
 * amcheck over a whole database: every heap, every B-tree (and GIN on 18). What has no checker is reported as unproven.
 * https://www.postgresql.org/docs/current/amcheck.html
 */
import type { Client } from 'pg';
import type { Progress } from '../base/progress.ts';
import { quoteIdentifier } from './fingerprint.ts';

export interface CheckedObject {
  readonly schema: string;
  readonly name: string;
  readonly state: 'passed' | 'failed' | 'unproven';
  readonly messages: readonly string[];
}

interface Candidate {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: string;
  readonly method: string;
}

/** Every permanent relation with storage of its own kind that amcheck knows, and the indexes that it does not. */
const candidates = `
  select c.oid::int8::int as oid, n.nspname as schema, c.relname as name, c.relkind as kind, coalesce(am.amname, 'heap') as method
  from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_am am on am.oid = c.relam
  left join pg_index i on i.indexrelid = c.oid
  where c.relkind in ('r', 'm', 't', 'i') and c.relpersistence = 'p' and (i.indexrelid is null or (i.indisvalid and i.indisready))
  order by c.relkind <> 'r', n.nspname, c.relname`;

export async function amcheckDatabase(
  client: Client,
  { progress, signal }: { progress?: Progress; signal?: AbortSignal },
): Promise<CheckedObject[]> {
  const { rows } = await client.query<Candidate>(candidates);
  const schema = await extensionSchema(client);
  if (typeof schema !== 'object')
    return rows.map(({ schema: s, name }) => ({ schema: s, name, state: 'unproven', messages: [schema] }));
  const version = Number(
    (await client.query<{ v: string }>(`select current_setting('server_version_num') as v`)).rows[0]!.v,
  );
  const checked: CheckedObject[] = [];
  progress?.phase('amcheck', rows.length, 'items');
  for (const candidate of rows) {
    signal?.throwIfAborted();
    checked.push(await checkOne(client, candidate, { prefix: schema.prefix, version }));
    progress?.advance(1);
  }
  return checked;
}

/** Where the extension is, creating it if need be; or why it cannot be used. */
async function extensionSchema(client: Client): Promise<{ prefix: string } | string> {
  try {
    await client.query('create schema if not exists helvino_amcheck');
    await client.query('create extension if not exists amcheck schema helvino_amcheck');
    const { rows } = await client.query<{ name: string }>(
      `select n.nspname as name from pg_extension e join pg_namespace n on n.oid = e.extnamespace where extname = 'amcheck'`,
    );
    return { prefix: quoteIdentifier(rows[0]!.name) };
  } catch (thrown) {
    return `the extension amcheck is not available: ${(thrown as Error).message}`;
  }
}

async function checkOne(
  client: Client,
  candidate: Candidate,
  { prefix, version }: { prefix: string; version: number },
): Promise<CheckedObject> {
  const { schema, name, oid } = candidate;
  const query = checkQuery(candidate, prefix, version);
  if (query === undefined)
    return {
      schema,
      name,
      state: 'unproven',
      messages: [`amcheck has no check for ${candidate.method} indexes`],
    };
  try {
    const { rows } = await client.query<Record<string, unknown>>(query, [oid]);
    // verify_heapam reports corruption as rows; the index checks return one empty row or raise an error.
    const messages = rows.flatMap((row) =>
      typeof row.msg === 'string' ? [`block ${row.blkno}: ${row.msg}`] : [],
    );
    return { schema, name, state: messages.length > 0 ? 'failed' : 'passed', messages };
  } catch (thrown) {
    return { schema, name, state: 'failed', messages: [(thrown as Error).message] };
  }
}

function checkQuery({ kind, method }: Candidate, prefix: string, version: number): string | undefined {
  if (kind !== 'i')
    return method === 'heap'
      ? `select blkno, msg from ${prefix}.verify_heapam($1::oid::regclass) limit 20`
      : undefined;
  if (method === 'btree')
    return `select ${prefix}.bt_index_parent_check($1::oid::regclass, true, true${version >= 170000 ? ', true' : ''})`;
  if (method === 'gin' && version >= 180000) return `select ${prefix}.gin_index_check($1::oid::regclass)`;
  return undefined;
}
