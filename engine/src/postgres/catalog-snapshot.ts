/**
 * Which file belongs to which relation in one database, and where its row in pg_class lies, at a position of the WAL: what
 * is needed to give WAL records names. https://www.postgresql.org/docs/current/catalog-pg-class.html
 */
import type { Client } from 'pg';
import * as z from 'zod';
import { HelvinoError } from '../base/errors.ts';

const relationSchema = z.tuple([
  /** oid */
  z.number().int(),
  /** schema's oid */
  z.number().int(),
  z.string(),
  /** relkind */
  z.string().length(1),
  /** relpersistence */
  z.string().length(1),
  /** file number; 0: none */
  z.number().int(),
  /** tablespace; 0: the database's */
  z.number().int(),
  /** block and item of its row in pg_class */
  z.number().int(),
  z.number().int(),
]);

const snapshotSchema = z.object({
  database: z.object({ oid: z.number().int(), name: z.string(), tablespace: z.number().int() }),
  /** Everything committed before this position is in it, but for `running`. */
  lsn: z.string().regex(/^\d+$/),
  /** ISO 8601, by the server's clock. */
  taken: z.string(),
  /** Transactions that were running: none of their work is in it. */
  running: z.array(z.number().int()),
  /** File number of pg_class itself. */
  classFile: z.number().int(),
  /** All databases: oid and name. */
  databases: z.array(z.tuple([z.number().int(), z.string()])),
  schemas: z.array(z.tuple([z.number().int(), z.string()])),
  relations: z.array(relationSchema),
  /** Partitions and other children of tables: oid, and the oid of the table that they are part of. Older snapshots have none. */
  children: z.array(z.tuple([z.number().int(), z.number().int()])).default([]),
});

/** Positions are decimal, as JSON has no bigint. */
export type CatalogSnapshot = z.infer<typeof snapshotSchema>;

const firstUserOid = 16384;

/** Of the database that the client is connected to. */
export async function takeCatalogSnapshot(client: Client): Promise<CatalogSnapshot> {
  // The position comes first: what is committed after it is read from WAL again, which does no harm; the other way round
  // something would be missed.
  const { rows: positions } = await client.query<{ lsn: string }>(
    `select ((case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end) - '0/0'::pg_lsn)::text as lsn`,
  );
  await client.query('begin isolation level repeatable read read only');
  try {
    const facts = await snapshotFacts(client);
    const { rows: schemas } = await client.query<{ oid: string; name: string }>(
      `select oid::text, nspname as name from pg_namespace`,
    );
    const { rows: databases } = await client.query<{ oid: string; name: string }>(
      `select oid::text, datname as name from pg_database`,
    );
    const relations = await relationRows(client);
    // https://www.postgresql.org/docs/current/catalog-pg-inherits.html
    const { rows: children } = await client.query<{ child: string; parent: string }>(
      `select inhrelid::text as child, inhparent::text as parent from pg_inherits
         join pg_class on pg_class.oid = inhrelid where relkind in ('r', 'p', 'f')`,
    );
    return {
      ...facts,
      lsn: positions[0]!.lsn,
      databases: databases.map((row) => [Number(row.oid), row.name]),
      schemas: schemas.map((row) => [Number(row.oid), row.name]),
      relations,
      children: children.map((row) => [Number(row.child), Number(row.parent)]),
    };
  } finally {
    await client.query('rollback').catch(() => undefined);
  }
}

async function snapshotFacts(
  client: Client,
): Promise<Pick<CatalogSnapshot, 'database' | 'taken' | 'running' | 'classFile'>> {
  const { rows } = await client.query<{
    oid: string;
    name: string;
    tablespace: string;
    taken: Date;
    running: string[];
    class_file: string;
  }>(`
    select oid::text, datname as name, dattablespace::text as tablespace, statement_timestamp() as taken,
      array(select (x::text::bigint & 4294967295)::text from pg_snapshot_xip(pg_current_snapshot()) x) as running,
      pg_relation_filenode('pg_class')::text as class_file
    from pg_database where datname = current_database()`);
  const row = rows[0]!;
  return {
    database: { oid: Number(row.oid), name: row.name, tablespace: Number(row.tablespace) },
    taken: row.taken.toISOString(),
    running: row.running.map(Number),
    classFile: Number(row.class_file),
  };
}

async function relationRows(client: Client): Promise<CatalogSnapshot['relations']> {
  const { rows } = await client.query<Record<string, string>>(
    `select oid::text, relnamespace::text as schema, relname as name, relkind::text as kind, relpersistence::text as persistence,
       relfilenode::text as file, reltablespace::text as tablespace, ctid::text as place
     from pg_class where oid >= $1 and relkind in ('r', 'p', 'm', 't', 'i', 'I', 'S', 'v', 'f')`,
    [firstUserOid],
  );
  return rows.map((row) => {
    const [block = '0', item = '0'] = row.place!.slice(1, -1).split(',');
    return [
      Number(row.oid),
      Number(row.schema),
      row.name!,
      row.kind!,
      row.persistence!,
      Number(row.file),
      Number(row.tablespace),
      Number(block),
      Number(item),
    ];
  });
}

/** Throws REPOSITORY_DAMAGED: such a snapshot was stored by us. */
export function parseCatalogSnapshot(text: string, place: string): CatalogSnapshot {
  try {
    return snapshotSchema.parse(JSON.parse(text));
  } catch (thrown) {
    throw new HelvinoError('REPOSITORY_DAMAGED', `${place} is no catalog snapshot`, { cause: thrown });
  }
}
