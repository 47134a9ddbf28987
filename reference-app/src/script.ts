/** What the programs beside the server share. */
import pg from 'pg';
import { readDatabaseUrl } from './config.ts';
import { describe } from './errors.ts';

export const say = (line: string): boolean => process.stdout.write(`${line}\n`);

/** One connection while `work` runs. */
export async function withClient<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    connectionString: readDatabaseUrl(),
    connectionTimeoutMillis: 10_000,
    application_name: 'helvino-api script',
  });
  // Noticed by the query that it breaks; without a listener it would end the process.
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** Runs a program; what goes wrong becomes one line and status 1. */
export async function run(program: () => Promise<void>): Promise<void> {
  try {
    await program();
  } catch (thrown) {
    process.stderr.write(`${describe(thrown)}\n`);
    process.exitCode = 1;
  }
}
