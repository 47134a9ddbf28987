/**
 * The low-level API of backups, for when files are not sent by the server: it is told where the reading begins and ends, and
 * says what the backup's label is. The connection must last as long as the reading: the server ends the backup with it.
 * https://www.postgresql.org/docs/current/continuous-archiving.html#BACKUP-LOWLEVEL-BASE-BACKUP,
 * https://www.postgresql.org/docs/14/functions-admin.html#FUNCTIONS-ADMIN-BACKUP (names before version 15)
 */
import type { Client } from 'pg';
import { HelvinoError } from '../base/errors.ts';
import { parseLsn } from './lsn.ts';
import { assertPlainLabel } from './replication/base-backup.ts';
import { query } from './sql.ts';

export interface DataPlace {
  readonly dataDir: string;
  /** The folder of this version in a tablespace: `PG_15_202209061`. */
  readonly versionFolder: string;
  /** Bytes. */
  readonly pageSize: number;
  /** Pages of a file of a relation. */
  readonly filePages: number;
}

export interface BackupEnd {
  readonly stopLsn: bigint;
  readonly timeline: number;
  /** The content of `backup_label`. */
  readonly label: string;
}

/** Where the server has its files. Throws SERVER_AUTH when the role may not know. */
export async function readDataPlace(client: Client): Promise<DataPlace> {
  const [row] = await query<{ directory: string; folder: string; page: string; file: string }>(
    client,
    `select current_setting('data_directory') as directory,
       'PG_' || current_setting('server_version_num')::int / 10000 || '_' || catalog_version_no as folder,
       current_setting('block_size') as page,
       pg_size_bytes(current_setting('segment_size')) / current_setting('block_size')::int as file
     from pg_control_system()`,
  );
  const { directory, folder, page, file } = row!;
  return { dataDir: directory, versionFolder: folder, pageSize: Number(page), filePages: Number(file) };
}

/** Symlinks only: others are folders of the data directory. */
export async function readTablespaces(client: Client): Promise<{ oid: string; location: string }[]> {
  return query(
    client,
    `select oid::text as oid, pg_tablespace_location(oid) as location from pg_tablespace
     where pg_tablespace_location(oid) like '/%' order by oid`,
  );
}

/**
 * Folders of the data directory, one for each database that is not in a tablespace. Those whose removal was broken off may have
 * none: https://www.postgresql.org/docs/current/catalog-pg-database.html (datconnlimit)
 */
export async function readDatabaseFolders(client: Client): Promise<string[]> {
  const rows = await query<{ folder: string }>(
    client,
    `select 'base/' || oid as folder from pg_database where dattablespace = 1663 and datconnlimit <> -2 order by oid`,
  );
  return rows.map(({ folder }) => folder);
}

/** Of the session that answers, which is another's now and then where a pooler stands between. */
export async function backendPid(client: Client): Promise<number> {
  const [row] = await query<{ pid: number }>(client, 'select pg_backend_pid() as pid');
  return row!.pid;
}

/** Over a Unix-domain socket, or between two equal addresses. */
export async function isLocalSession(client: Client): Promise<boolean> {
  const [row] = await query<{ local: boolean }>(
    client,
    'select inet_client_addr() is null or host(inet_client_addr()) = host(inet_server_addr()) as local',
  );
  return row!.local;
}

export async function hasSlot(client: Client, name: string): Promise<boolean> {
  return (await query(client, 'select from pg_replication_slots where slot_name = $1', [name])).length > 0;
}

/** How the two functions are told of, and called, by a server of this version. */
function functionsOf(version: number) {
  return version >= 150000
    ? {
        signatures: ['pg_backup_start(text, boolean)', 'pg_backup_stop(boolean)'],
        begin: 'pg_backup_start($1, $2)',
        end: 'pg_backup_stop(false)',
      }
    : {
        signatures: ['pg_start_backup(text, boolean, boolean)', 'pg_stop_backup(boolean, boolean)'],
        begin: 'pg_start_backup($1, $2, false)',
        end: 'pg_stop_backup(false, false)',
      };
}

/** Whether the role may begin and end a backup by the functions below. */
export async function mayBeginBackup(client: Client, version: number): Promise<boolean> {
  const [row] = await query<{ may: boolean }>(
    client,
    `select bool_and(has_function_privilege('pg_catalog.' || name, 'execute')) as may from unnest($1::text[]) name`,
    [functionsOf(version).signatures],
  );
  return row!.may;
}

/** Waits for a checkpoint. `version`: of the server, e.g. 150018. Throws SERVER_AUTH when the role may not. */
export async function beginLowLevelBackup(
  client: Client,
  version: number,
  { label, fast }: { readonly label: string; readonly fast: boolean },
): Promise<bigint> {
  assertPlainLabel(label);
  const { begin } = functionsOf(version);
  const [row] = await query<{ lsn: string }>(client, `select ${begin}::text as lsn`, [label, fast]);
  return parseLsn(row!.lsn);
}

/** Does not wait for the archive. */
export async function endLowLevelBackup(client: Client, version: number): Promise<BackupEnd> {
  const { end } = functionsOf(version);
  const [row] = await query<{ lsn: string; label: string }>(
    client,
    `select lsn::text as lsn, labelfile as label from ${end}`,
  );
  const { lsn, label } = row!;
  const timeline = [...label.matchAll(/^START TIMELINE: (\d+)$/gm)].at(-1)?.[1];
  if (timeline === undefined)
    throw new HelvinoError('PROTOCOL', `the backup label names no timeline: ${JSON.stringify(label)}`);
  return { stopLsn: parseLsn(lsn), timeline: Number(timeline), label };
}
