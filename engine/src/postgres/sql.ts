/** Queries whose failures are HelvinoErrors, and what such a failure says. */
import pg from 'pg';
import { HelvinoError } from '../base/errors.ts';
import { type ServerMessage, serverError } from './wire/server-error.ts';

/** Throws what serverError makes of the server's answer, or SERVER_GONE. */
export async function query<Row>(
  client: pg.Client,
  text: string,
  values?: readonly unknown[],
): Promise<Row[]> {
  return (await statements<Row>(client, text, values))[0] ?? [];
}

/** Several statements in one round trip (then without values): the rows of each. */
export async function statements<Row>(
  client: pg.Client,
  text: string,
  values?: readonly unknown[],
): Promise<Row[][]> {
  try {
    const result: unknown = await client.query(text, values as unknown[] | undefined);
    return (Array.isArray(result) ? result : [result]).map((one) => (one as { rows: Row[] }).rows);
  } catch (thrown) {
    throw queryError(client, thrown);
  }
}

/** How many rows a statement touched. Fails as `query` does. */
export async function execute(client: pg.Client, text: string, values?: readonly unknown[]): Promise<number> {
  try {
    return (await client.query(text, values as unknown[] | undefined)).rowCount ?? 0;
  } catch (thrown) {
    throw queryError(client, thrown);
  }
}

/** What a failed query throws, as a HelvinoError. */
export function queryError(client: pg.Client, thrown: unknown): HelvinoError {
  if (thrown instanceof HelvinoError) return thrown;
  if (thrown instanceof pg.DatabaseError) {
    const { severity = 'ERROR', code = '', message, detail, hint } = thrown;
    return serverError({ severity, code, message, detail, hint } satisfies ServerMessage, client.user ?? '');
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new HelvinoError('SERVER_GONE', `the connection to the server broke: ${message}`, { cause: thrown });
}

/**
 * True when the failure shows that stored data cannot be read: corruption, internal errors, files that are missing or
 * cannot be read. False when this server merely lacks a right, a library or memory, or a function of the user's failed.
 * https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
export function showsDamage(error: HelvinoError): boolean {
  const state = String(error.context.sqlstate ?? '');
  if (/^could not (access file|load library|find function)/.test(error.message)) return false;
  return state.startsWith('XX') || state.startsWith('58');
}
