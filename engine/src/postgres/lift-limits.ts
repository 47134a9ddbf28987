import type { Client } from 'pg';
import type { ConnectionParams } from './conninfo.ts';
import { query } from './sql.ts';

/**
 * Time limits that the role or the database has for its ordinary work do not hold in this session: dumps, restores and snapshots take hours, and
 * wait. Those that this version does not know are passed over.
 */
export async function liftLimits(client: Client): Promise<void> {
  await query(
    client,
    `select set_config(name, '0', false) from pg_settings where name in ('statement_timeout', 'lock_timeout',
       'idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')`,
  );
}

/**
 * For a replication connection that only holds a slot for long: the server would end it, and a walsender has no SET. Not for those
 * that may lead through a pooler, which refuses options that it does not know.
 */
export function withoutIdleLimit(params: ConnectionParams): ConnectionParams {
  return { ...params, options: [params.options, '-c idle_session_timeout=0'].filter(Boolean).join(' ') };
}
