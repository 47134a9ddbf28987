/** A server that Helvino started, reached over the network of this machine, with passwords that are good for it only. */
import { createServer } from 'node:net';
import { HelvinoError } from '../base/errors.ts';
import { randomHex } from '../base/ids.ts';
import { connectSql } from './connect.ts';
import type { LocalServer } from './local-server.ts';

/**
 * A URL, without a database, with a new password of the role, on this server only: the source's stay what they are. Throws
 * SERVER_ERROR.
 */
export async function giveUrl(
  server: LocalServer,
  { role, port }: { role: string; port: number },
): Promise<string> {
  const password = randomHex(16);
  const client = await connectSql(server.connection);
  try {
    await client.query('set default_transaction_read_only = off');
    await client.query(`set password_encryption = 'scram-sha-256'`);
    await client.query(
      `alter role ${client.escapeIdentifier(role)} password ${client.escapeLiteral(password)} valid until 'infinity'`,
    );
    return `postgresql://${encodeURIComponent(role)}:${password}@127.0.0.1:${port}`;
  } catch (thrown) {
    throw new HelvinoError(
      'SERVER_ERROR',
      `the role "${role}" cannot be used: ${(thrown as Error).message}`,
      {
        cause: thrown,
      },
    );
  } finally {
    await client.end();
  }
}

/**
 * A new role that reads all there is, in every database that takes connections, and is no superuser; the password is good for
 * this server only.
 */
export async function makeReader(server: LocalServer): Promise<{ role: string; password: string }> {
  const role = `helvino_open_${randomHex(4)}`;
  const password = randomHex(16);
  const client = await connectSql(server.connection);
  try {
    await client.query(`set password_encryption = 'scram-sha-256'`);
    // Row level security would leave out rows without a word.
    await client.query(
      `create role ${role} login bypassrls password ${client.escapeLiteral(password)} in role pg_read_all_data, pg_monitor`,
    );
    const { rows } = await client.query<{ name: string; closed: boolean }>(
      'select datname as name, datconnlimit = 0 as closed from pg_database where datallowconn and datconnlimit <> -2',
    );
    for (const { name, closed } of rows) {
      const database = client.escapeIdentifier(name);
      await client.query(`grant connect on database ${database} to ${role}`);
      // Limits are not for superusers; this role is none, and nearly alone.
      if (closed) await client.query(`alter database ${database} connection limit -1`);
    }
    return { role, password };
  } finally {
    await client.end();
  }
}

/** Of 127.0.0.1, free a moment ago: that one, or any. Throws LOCAL_SERVER. */
export async function freePort(wanted = 0): Promise<number> {
  const listener = createServer();
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen(wanted, '127.0.0.1', resolve);
  }).catch((cause: Error) => {
    throw new HelvinoError('LOCAL_SERVER', `port ${wanted} of 127.0.0.1 cannot be used: ${cause.message}`, {
      cause,
      hint: 'name another port, or none: then any that is free is taken',
    });
  });
  const address = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  if (address === null || typeof address === 'string')
    throw new HelvinoError('LOCAL_SERVER', 'no local port is free');
  return address.port;
}
