/** What is asked of the server before a dump: version, databases, rights. Needs no right that a managed server withholds. */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';

export interface LogicalSource {
  readonly serverVersion: number;
  readonly serverVersionText: string;
  readonly fromStandby: boolean;
  /** May read passwords of roles. */
  readonly readsPasswords: boolean;
  readonly databases: readonly SourceDatabase[];
  /** Not templates, but cannot be connected to: they are in no dump. */
  readonly closed: readonly string[];
}

export interface SourceDatabase {
  readonly name: string;
  readonly owner: string;
  readonly encoding: string;
  readonly collate: string;
  readonly ctype: string;
  readonly localeProvider?: string;
  readonly locale?: string;
  /** Bytes on the server; 0 when the role may not ask. */
  readonly size: number;
}

const oldest = 140000;
const newest = 189999;

/** `wanted`: undefined for all that are no templates. Throws SERVER_VERSION, USAGE for a database that is not there. */
export async function readLogicalSource(
  client: Client,
  wanted: readonly string[] | undefined,
): Promise<LogicalSource> {
  const server = await client.query<{ version: string; text: string; standby: boolean; passwords: boolean }>(
    `select current_setting('server_version_num') as version, current_setting('server_version') as text,
       pg_is_in_recovery() as standby, has_table_privilege('pg_catalog.pg_authid', 'select') as passwords`,
  );
  const { version, text, standby, passwords } = server.rows[0]!;
  const serverVersion = Number(version);
  const serverVersionText = text.split(' ')[0]!;
  if (serverVersion < oldest || serverVersion > newest)
    throw new HelvinoError(
      'SERVER_VERSION',
      `the server is PostgreSQL ${serverVersionText}; versions 14 to 18 are supported`,
      { hint: 'use a Helvino version that supports it', context: { serverVersion } },
    );
  // Columns came and went: https://www.postgresql.org/docs/release/15.0/, https://www.postgresql.org/docs/release/17.0/
  const provider = serverVersion >= 150000 ? 'datlocprovider::text' : 'null';
  const locale = serverVersion >= 170000 ? 'datlocale' : serverVersion >= 150000 ? 'daticulocale' : 'null';
  const { rows } = await client.query<SourceDatabase & { open: boolean }>(
    `select datname as name, pg_get_userbyid(datdba) as owner, pg_encoding_to_char(encoding) as encoding,
       datcollate as collate, datctype as ctype, ${provider} as "localeProvider", ${locale} as locale,
       datallowconn and datconnlimit <> -2 and has_database_privilege(oid, 'connect') as open,
       case when has_database_privilege(oid, 'connect') or pg_has_role('pg_read_all_stats', 'usage')
         then pg_database_size(oid) else 0 end::float8 as size
     from pg_database where not datistemplate order by datname`,
  );
  const missing = wanted?.filter((name) => !rows.some((row) => row.name === name)) ?? [];
  if (missing.length > 0)
    throw new HelvinoError('USAGE', `the server has no database "${missing[0]}"`, {
      hint: `it has: ${rows.map((row) => row.name).join(', ')}`,
    });
  const chosen = rows.filter((row) => wanted === undefined || wanted.includes(row.name));
  return {
    serverVersion,
    serverVersionText,
    fromStandby: standby,
    readsPasswords: passwords,
    databases: chosen
      .filter((row) => row.open)
      .map(({ open, localeProvider, locale: icu, ...row }) => ({
        ...row,
        localeProvider: localeProvider ?? undefined,
        locale: icu ?? undefined,
      })),
    closed: chosen.filter((row) => !row.open).map((row) => row.name),
  };
}
