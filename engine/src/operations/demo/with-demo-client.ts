import type { Client } from 'pg';
import { type ConnectionParams, connectSql } from '../../postgres/index.ts';

/** In the demo's database. Throws the signal's reason as soon as it is given: what the server is about to do is not waited for. */
export async function withDemoClient<Result>(
  connection: ConnectionParams,
  signal: AbortSignal,
  work: (client: Client) => Promise<Result>,
): Promise<Result> {
  const client = await connectSql(connection, { database: 'postgres', signal });
  // Breaks the connection off when a statement is under way.
  const leave = () => void client.end().catch(() => undefined);
  signal.addEventListener('abort', leave, { once: true });
  try {
    signal.throwIfAborted();
    return await work(client);
  } catch (thrown) {
    throw signal.aborted ? signal.reason : thrown;
  } finally {
    signal.removeEventListener('abort', leave);
    await client.end();
  }
}
