/** Which database of a server that Helvino started can be used: those that a cluster begins with may be gone, or closed. */
import { HelvinoError } from '../base/errors.ts';
import { connectSql } from './connect.ts';
import type { ConnectionParams } from './conninfo.ts';

/** invalid_catalog_name, object_not_in_prerequisite_state: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const refusals = ['3D000', '55000'];

/** The first of `names` that takes connections. Throws LOCAL_SERVER when none does. */
export async function openDatabase(
  connection: ConnectionParams,
  names: readonly (string | undefined)[],
): Promise<string> {
  const tried = new Set(names.filter((name) => name !== undefined));
  for (const database of tried) {
    try {
      await (await connectSql(connection, { database })).end();
      return database;
    } catch (thrown) {
      const sqlstate = thrown instanceof HelvinoError ? thrown.context.sqlstate : undefined;
      if (!refusals.includes(String(sqlstate))) throw thrown;
    }
  }
  throw new HelvinoError('LOCAL_SERVER', `no database of ${[...tried].join(', ')} takes connections`, {
    hint: 'a cluster needs one that does: create the database postgres on the source, or allow connections to it, and take a backup',
  });
}
