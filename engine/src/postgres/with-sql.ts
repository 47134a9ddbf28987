import type pg from 'pg';
import { interrupted } from '../base/errors.ts';
import { connectSql } from './connect.ts';
import type { ConnectionParams } from './conninfo.ts';
import { queryError } from './sql.ts';

/**
 * Works over an ordinary connection, which is cut when the signal comes: a server that does not answer must not hold up the
 * end. What fails is a HelvinoError: INTERRUPTED, SERVER_GONE, what the server answered, or what connectSql throws.
 */
export async function withSql<T>(
  params: ConnectionParams,
  {
    database,
    signal,
    connecting = signal,
  }: {
    database?: string;
    signal: AbortSignal;
    /** Ends the attempt to connect, instead of `signal`. */
    connecting?: AbortSignal;
  },
  work: (client: pg.Client) => Promise<T>,
): Promise<T> {
  const client = await connectSql(params, { database, signal: connecting });
  const cut = () => client.connection.stream.destroy();
  signal.addEventListener('abort', cut, { once: true });
  if (signal.aborted) cut();
  try {
    return await work(client);
  } catch (thrown) {
    if (signal.aborted) throw interrupted(signal);
    // Our own mistakes are not the server's.
    throw thrown instanceof TypeError ? thrown : queryError(client, thrown);
  } finally {
    await client.end().catch(() => undefined);
    signal.removeEventListener('abort', cut);
  }
}
