import type { Client } from 'pg';
import { type ConnectionParams, connectSql } from '../../postgres/index.ts';

/** In the demo's database. */
export async function withDemoClient<Result>(
  connection: ConnectionParams,
  work: (client: Client) => Promise<Result>,
): Promise<Result> {
  const client = await connectSql(connection, { database: 'postgres' });
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
