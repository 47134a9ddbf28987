/** What applying a plan does besides, or leaves undone: said before, so that nobody is surprised. */
import type { Client } from 'pg';
import { query } from '../../postgres/index.ts';
import { type TableModel, tableName } from './schema-model.ts';

/** Whether the role may have no trigger and no foreign-key action fire. */
export async function mayBeReplica(client: Client): Promise<boolean> {
  const [row] = await query<{ super: boolean; version: number }>(
    client,
    `select rolsuper as super, current_setting('server_version_num')::int as version from pg_roles where rolname = current_user`,
  );
  if (row?.super) return true;
  if ((row?.version ?? 0) < 150000) return false;
  const [granted] = await query<{ may: boolean }>(
    client,
    `select has_parameter_privilege('session_replication_role', 'set') as may`,
  );
  return granted!.may;
}

/** Of tables whose rows will change. */
export function sideEffectsOf(tables: readonly TableModel[]): string[] {
  return tables.flatMap((table) => {
    const name = tableName(table);
    const fires = table.triggers.filter(({ always }) => always);
    const silent = table.triggers.filter((trigger) => !fires.includes(trigger));
    const list = (triggers: TableModel['triggers']) =>
      triggers.map((one) => `${one.name} (${one.function})`).join(', ');
    return [
      ...(fires.length > 0 ? [`${name}: these triggers fire for each row: ${list(fires)}`] : []),
      ...(silent.length > 0
        ? [
            `${name}: these triggers do not fire (with --triggers fire they do), so what they would do is not done: ${list(silent)}`,
          ]
        : []),
      ...(table.insertOnly
        ? [
            `${name}: it is published and has no replica identity, so the server refuses to change or remove its rows, and an undo with them; ALTER TABLE … REPLICA IDENTITY FULL allows it`,
          ]
        : []),
      ...(table.rowSecurity ? [`${name}: row security is bypassed, or the run ends with an error`] : []),
    ];
  });
}
