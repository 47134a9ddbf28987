/** How a rescue talks to a server: printed values mean the same everywhere, and nothing is hidden by row security. */
import type { Client } from 'pg';
import { query } from '../../postgres/index.ts';

/** Everything that changes how a value is printed or a row is found. https://www.postgresql.org/docs/current/runtime-config-client.html */
const pinned: Readonly<Record<string, string>> = {
  datestyle: 'ISO, YMD',
  intervalstyle: 'postgres',
  timezone: 'UTC',
  extra_float_digits: '1',
  bytea_output: 'hex',
  lc_monetary: 'C',
  xmlbinary: 'base64',
  xmloption: 'content',
  quote_all_identifiers: 'off',
  search_path: 'pg_catalog',
  // An error instead of rows that are silently left out.
  row_security: 'off',
  check_function_bodies: 'off',
  client_encoding: 'UTF8',
  jit: 'off',
  idle_in_transaction_session_timeout: '0',
  transaction_timeout: '0',
};

/** For this transaction, which must have begun. */
export async function pinSettings(
  client: Client,
  more: Readonly<Record<string, string>> = {},
): Promise<void> {
  await query(
    client,
    `select set_config(name, value, true) from pg_catalog.pg_settings
     join json_each_text($1) on lower(name) = key`,
    [JSON.stringify({ ...pinned, ...more })],
  );
}

/** Throws nothing: the connection may be broken. */
export async function rollback(client: Client): Promise<void> {
  await client.query('rollback').catch(() => undefined);
}

export interface ServerIdentity {
  readonly database: string;
  /** Undefined where the role may not ask. */
  readonly system: string | undefined;
  readonly version: number;
  readonly encoding: string;
  /** ISO 8601, by the server's clock. */
  readonly time: string;
}

export async function identify(client: Client): Promise<ServerIdentity> {
  const [row] = await query<Omit<ServerIdentity, 'system'> & { may: boolean }>(
    client,
    `select current_database() as database, current_setting('server_version_num')::int as version,
       getdatabaseencoding() as encoding, to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as time,
       has_function_privilege('pg_catalog.pg_control_system()', 'execute') as may`,
  );
  const { may, ...facts } = row!;
  const [control] = may
    ? await query<{ system: string }>(
        client,
        'select system_identifier::text as system from pg_control_system()',
      )
    : [];
  return { ...facts, system: control?.system };
}
