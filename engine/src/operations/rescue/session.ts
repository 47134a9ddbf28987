/** How a rescue talks to a server: printed values mean the same everywhere, and nothing is hidden by row security. */
import type { Client } from 'pg';
import { printSettings, query } from '../../postgres/index.ts';

/** Everything that changes how a value is printed or a row is found. */
const pinned: Readonly<Record<string, string>> = {
  ...printSettings,
  quote_all_identifiers: 'off',
  // An error instead of rows that are silently left out.
  row_security: 'off',
  check_function_bodies: 'off',
  client_encoding: 'UTF8',
  jit: 'off',
  idle_in_transaction_session_timeout: '0',
  transaction_timeout: '0',
};

/** For this transaction, which must have begun. Resolves to what they were. */
export async function pinSettings(
  client: Client,
  more: Readonly<Record<string, string>> = {},
): Promise<Readonly<Record<string, string>>> {
  const rows = await query<{ name: string; was: string }>(
    client,
    `with was as materialized (select lower(name) as name, setting as was from pg_catalog.pg_settings)
     select was.name, was.was, set_config(was.name, value, true) from was join json_each_text($1) on was.name = key`,
    [JSON.stringify({ ...pinned, ...more })],
  );
  return Object.fromEntries(rows.map(({ name, was }) => [name, was]));
}

/** What functions of the database may depend on, in triggers and checks. */
const theirs = Object.keys(printSettings);

/** Runs `work`, which fires triggers, with the settings that the session had. */
export async function withTheirSettings(
  client: Client,
  was: Readonly<Record<string, string>>,
  work: () => Promise<void>,
): Promise<void> {
  const set = (values: Readonly<Record<string, string>>) =>
    query(client, 'select pg_catalog.set_config(key, value, true) from pg_catalog.json_each_text($1)', [
      JSON.stringify(
        Object.fromEntries(theirs.flatMap((name) => (name in values ? [[name, values[name]!]] : []))),
      ),
    ]);
  await set(was);
  await work();
  await set(pinned);
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
