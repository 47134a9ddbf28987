/**
 * amcheck over a whole database: every heap, every B-tree (and GIN on 18). What has no checker is reported as unproven, as
 * is a check that failed for a reason that is no damage.
 * https://www.postgresql.org/docs/current/amcheck.html
 */
import type { Client } from 'pg';
import { asHelvinoError, type HelvinoError } from '../base/errors.ts';
import type { Progress } from '../base/progress.ts';
import { quoteIdentifier } from './fingerprint.ts';
import { query, showsDamage } from './sql.ts';

interface CheckedObject {
  readonly schema: string;
  readonly name: string;
  readonly state: 'passed' | 'failed' | 'unproven';
  readonly messages: readonly string[];
}

interface Candidate {
  readonly oid: string;
  readonly schema: string;
  readonly name: string;
  /** relkind: `r`, `m`, `t`, `S`, `i`. */
  readonly kind: string;
  readonly method: string;
  /** An index sorted by a collation that has another version here than where the index was built. */
  readonly otherCollation: boolean;
}

interface Checkers {
  /** Quoted schema of the extension. */
  readonly prefix: string;
  readonly unique: boolean;
  readonly gin: boolean;
  readonly sequences: boolean;
}

/** The server must take writes: the extension is created in it. Throws SERVER_GONE only when nothing could be looked at. */
export async function amcheckDatabase(
  client: Client,
  { progress, signal }: { progress?: Progress; signal?: AbortSignal },
): Promise<CheckedObject[]> {
  const [server] = await query<{ version: string }>(
    client,
    `select current_setting('server_version_num') as version`,
  );
  const version = Number(server!.version);
  const rows = await query<Candidate>(client, candidates(version));
  const checkers = await findCheckers(client, version);
  if (typeof checkers === 'string') {
    return rows.map(({ schema, name }) => ({ schema, name, state: 'unproven', messages: [checkers] }));
  }
  const checked: CheckedObject[] = [];
  progress?.phase('amcheck', rows.length, 'items');
  for (const candidate of rows) {
    signal?.throwIfAborted();
    checked.push(await checkOne(client, candidate, checkers));
    progress?.advance(1);
  }
  return checked;
}

/**
 * Every permanent relation that has storage. Indexes that are not valid are none to rely on. From 15 on the database, too,
 * knows the version of its collation.
 * https://www.postgresql.org/docs/current/sql-altercollation.html#SQL-ALTERCOLLATION-NOTES
 */
function candidates(version: number): string {
  const databaseDiffers =
    version >= 150000
      ? `100 = any(i.indcollation::oid[]) and (select datcollversion <> pg_database_collation_actual_version(oid)
           from pg_database where datname = current_database())`
      : 'false';
  return `
    select c.oid::text as oid, n.nspname as schema, c.relname as name, c.relkind as kind,
      coalesce(am.amname, 'heap') as method,
      coalesce(i.indexrelid is not null and (${databaseDiffers} or exists (
        select from pg_collation l where l.oid = any(i.indcollation::oid[]) and l.collversion is not null
          and l.collversion <> pg_collation_actual_version(l.oid))), false) as "otherCollation"
    from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_am am on am.oid = c.relam
    left join pg_index i on i.indexrelid = c.oid
    where c.relkind in ('r', 'm', 't', 'S', 'i') and c.relpersistence = 'p'
      and (i.indexrelid is null or (i.indisvalid and i.indisready))
    order by c.relkind <> 'r', n.nspname, c.relname`;
}

/**
 * Where the extension is, creating it if need be, and what it can do; or why it cannot be used. One that came with an
 * upgrade from an older major may lack functions until it is updated.
 */
async function findCheckers(client: Client, version: number): Promise<Checkers | string> {
  try {
    await query(client, 'create schema if not exists helvino_amcheck');
    await query(client, 'create extension if not exists amcheck schema helvino_amcheck');
    await query(client, 'alter extension amcheck update');
    const [found] = await query<{ prefix: string }>(
      client,
      `select quote_ident(n.nspname) as prefix from pg_extension e join pg_namespace n on n.oid = e.extnamespace
       where extname = 'amcheck'`,
    );
    const { prefix } = found!;
    const has = `select to_regprocedure($1) is not null as unique, to_regprocedure($2) is not null as gin`;
    const [can] = await query<{ unique: boolean; gin: boolean }>(client, has, [
      `${prefix}.bt_index_parent_check(regclass, boolean, boolean, boolean)`,
      `${prefix}.gin_index_check(regclass)`,
    ]);
    return { prefix, ...can!, sequences: version >= 150000 };
  } catch (thrown) {
    const error = asHelvinoError(thrown);
    if (error.code === 'SERVER_GONE') throw error;
    return `the extension amcheck cannot be used: ${error.message}`;
  }
}

async function checkOne(client: Client, candidate: Candidate, checkers: Checkers): Promise<CheckedObject> {
  const { schema, name, method } = candidate;
  const text = checkQuery(candidate, checkers);
  if (text === undefined) {
    return { schema, name, state: 'unproven', messages: [`amcheck has no check for ${method}`] };
  }
  try {
    const rows = await query<{ blkno?: string; msg?: string }>(client, text);
    // verify_heapam reports corruption as rows; the index checks return one empty row or raise an error.
    const messages = rows.flatMap(({ blkno, msg }) =>
      typeof msg === 'string' ? [`block ${blkno}: ${msg}`] : [],
    );
    return { schema, name, state: messages.length > 0 ? 'failed' : 'passed', messages };
  } catch (thrown) {
    return { schema, name, ...judge(candidate, asHelvinoError(thrown)) };
  }
}

/** A server that dies of a check, and every error that speaks of damage, is a failure. */
function judge(
  { otherCollation }: Candidate,
  error: HelvinoError,
): Pick<CheckedObject, 'state' | 'messages'> {
  if (error.code !== 'SERVER_GONE' && !showsDamage(error))
    return { state: 'unproven', messages: [error.message] };
  if (!otherCollation) return { state: 'failed', messages: [error.message] };
  const reason = 'its collation has another version on this machine, so its order cannot be judged here';
  return { state: 'unproven', messages: [reason, error.message] };
}

function checkQuery({ oid, schema, name, kind, method }: Candidate, checkers: Checkers): string | undefined {
  const { prefix, unique, gin, sequences } = checkers;
  // Reading its one row is all that can be done with a sequence before 15.
  if (kind === 'S' && !sequences)
    return `select last_value from ${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
  if (kind !== 'i') {
    if (method !== 'heap') return undefined;
    return `select blkno, msg from ${prefix}.verify_heapam(${oid}::regclass, check_toast => true) limit 20`;
  }
  if (method === 'btree') {
    return `select ${prefix}.bt_index_parent_check(${oid}::regclass, true, true${unique ? ', true' : ''})`;
  }
  return method === 'gin' && gin ? `select ${prefix}.gin_index_check(${oid}::regclass)` : undefined;
}
