/** The tables whose rows a dump holds, with row counts and content hashes. */
import { fingerprintDatabase } from '../../postgres/index.ts';

/** Without what is in no dump: materialized views are computed anew, an extension makes its tables itself. */
export const dumpedTables: typeof fingerprintDatabase = async (client, options) => {
  const derived = await client.query<{ name: string }>(
    `select n.nspname || '.' || c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'm' or exists (select from pg_depend d where d.classid = 'pg_class'::regclass
       and d.objid = c.oid and d.deptype = 'e')`,
  );
  const left = new Set(derived.rows.map((row) => row.name));
  const tables = await fingerprintDatabase(client, options);
  return tables.filter((table) => !left.has(`${table.schema}.${table.table}`));
};
