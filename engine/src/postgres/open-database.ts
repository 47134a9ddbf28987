/** Which database of a server that Helvino started can be used: those that a cluster begins with may be gone, or closed. */
import { HelvinoError } from '../base/errors.ts';
import { connectSql } from './connect.ts';
import type { ConnectionParams } from './conninfo.ts';

/** invalid_catalog_name, object_not_in_prerequisite_state: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const refusals = ['3D000', '55000'];

/**
 * The first of `names` that takes connections. Where none does, and one says something else than that it is closed (the role is
 * not there), that one: who connects to it hears that, and knows what it means. Throws LOCAL_SERVER when all are closed.
 */
export async function openDatabase(
  connection: ConnectionParams,
  names: readonly (string | undefined)[],
  signal?: AbortSignal,
): Promise<string> {
  const tried = new Set(names.filter((name) => name !== undefined));
  let other: string | undefined;
  for (const database of tried) {
    try {
      await (await connectSql(connection, { database, ...(signal && { signal }) })).end();
      return database;
    } catch (thrown) {
      signal?.throwIfAborted();
      const sqlstate = thrown instanceof HelvinoError ? thrown.context.sqlstate : undefined;
      if (!refusals.includes(String(sqlstate))) other ??= database;
    }
  }
  if (other !== undefined) return other;
  throw new HelvinoError('LOCAL_SERVER', `no database of ${[...tried].join(', ')} takes connections`, {
    hint: 'a cluster needs one that does: create the database postgres on the source, or allow connections to it, and take a backup',
  });
}
