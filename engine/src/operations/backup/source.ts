/** What is asked of the server over an ordinary connection before a backup begins. */
import type { Client } from 'pg';
import { HelvinoError } from '../../base/errors.ts';

export interface SourceFacts {
  readonly systemId: string;
  readonly serverVersion: number;
  readonly serverVersionText: string;
  readonly inRecovery: boolean;
  readonly superuser: string;
  /** The database that the connection is to. */
  readonly database: string;
  /** Bytes. */
  readonly walSegmentSize: number;
  readonly dataChecksums: boolean;
  readonly summarizeWal: boolean;
  /** Databases that can be connected to. */
  readonly databases: readonly string[];
  /** Databases that are there but whose content cannot be looked at: a drill must not call them compared. */
  readonly hiddenDatabases: readonly string[];
  /** Set by `helvino restore` in the directory that it restores: tells apart servers that went on from the same point. */
  readonly restored: string | undefined;
  /** Estimate of the bytes of all databases; undefined when the role may not ask. */
  readonly bytes: number | undefined;
}

const oldest = 140000;
/** Newer majors may bring formats that this version does not know. */
const newest = 189999;

/** Throws SERVER_VERSION for what is not supported. */
export async function readSource(client: Client): Promise<SourceFacts> {
  const { rows } = await client.query<Record<string, string | boolean | null>>(`
    select (select system_identifier::text from pg_control_system()) as system_id,
      current_setting('server_version_num') as version, current_setting('server_version') as version_text,
      pg_is_in_recovery() as in_recovery, (select rolname from pg_roles where oid = 10) as superuser,
      current_database() as database,
      pg_size_bytes(current_setting('wal_segment_size'))::text as segment,
      current_setting('data_checksums') as checksums,
      coalesce(current_setting('summarize_wal', true), 'off') as summarize,
      nullif(current_setting('helvino.restored', true), '') as restored`);
  const row = rows[0]!;
  const serverVersion = Number(row.version);
  const serverVersionText = String(row.version_text).split(' ')[0]!;
  if (serverVersion < oldest || serverVersion > newest) {
    throw new HelvinoError(
      'SERVER_VERSION',
      `the server is PostgreSQL ${serverVersionText}; versions 14 to 18 are supported`,
      {
        hint: 'use a Helvino version that supports it',
        context: { serverVersion },
      },
    );
  }
  const databases = await client.query<{ datname: string; open: boolean }>(
    `select datname, datallowconn and datconnlimit <> -2 and has_database_privilege(datname, 'connect') as open from pg_database
     where datallowconn or datname <> 'template0' order by datname`,
  );
  return {
    systemId: String(row.system_id),
    serverVersion,
    serverVersionText,
    inRecovery: row.in_recovery === true,
    superuser: String(row.superuser),
    database: String(row.database),
    walSegmentSize: Number(row.segment),
    dataChecksums: row.checksums === 'on',
    summarizeWal: row.summarize === 'on',
    databases: databases.rows.filter((d) => d.open).map((d) => d.datname),
    hiddenDatabases: databases.rows.filter((d) => !d.open).map((d) => d.datname),
    restored: typeof row.restored === 'string' ? row.restored : undefined,
    bytes: await databaseBytes(client),
  };
}

/**
 * The server's clock now, no earlier than any commit that it has made; ISO 8601. Recovery to a time compares with commits,
 * which are by that clock, and this host's may be another.
 */
export async function serverTime(client: Client): Promise<string> {
  const { rows } = await client.query<{ ms: string }>(
    `select ceil(extract(epoch from clock_timestamp()) * 1000)::bigint::text as ms`,
  );
  return new Date(Number(rows[0]!.ms)).toISOString();
}

async function databaseBytes(client: Client): Promise<number | undefined> {
  try {
    const { rows } = await client.query<{ bytes: string }>(
      `select sum(pg_database_size(oid))::text as bytes from pg_database
       where has_database_privilege(oid, 'connect') or pg_has_role('pg_read_all_stats', 'usage')`,
    );
    return Number(rows[0]!.bytes);
  } catch {
    // a role without pg_read_all_stats: the estimate is only for display
    return undefined;
  }
}
