/** What the plan says must hold in the restored database: SQL assertions, and a heartbeat that proves the recovery point. */
import { asHelvinoError } from '../../base/errors.ts';
import { formatTime } from '../../base/format.ts';
import { formatAge } from '../../catalog/index.ts';
import { type ConnectionParams, connectSql } from '../../postgres/index.ts';
import type { Assertion, Heartbeat } from './exercise.ts';
import type { Loss } from './objectives.ts';
import { type Check, shownQueries } from './report.ts';

type Outcome = Omit<Check, 'name' | 'seconds'>;

/** Nothing that an assertion does stays. */
const limits = `begin read only; set local statement_timeout = '10min'`;

/** The one value of a query, as text; null is null. */
async function askOne(
  connection: ConnectionParams,
  { database, sql }: { database: string; sql: string },
): Promise<{ value: unknown; problem?: string }> {
  const client = await connectSql(connection, { database });
  try {
    await client.query(limits);
    const { rows, fields } = await client.query<unknown[]>({ text: sql, rowMode: 'array' });
    if (!Array.isArray(rows) || rows.length !== 1 || fields.length !== 1)
      return {
        value: undefined,
        problem: `it answers ${rows?.length ?? 0} rows of ${fields?.length ?? 0} columns, not one value`,
      };
    return { value: rows[0]![0] };
  } finally {
    await client.end().catch(() => undefined);
  }
}

export async function checkAssertion(connection: ConnectionParams, assertion: Assertion): Promise<Outcome> {
  const { sql, expect } = assertion;
  try {
    const { value, problem } = await askOne(connection, assertion);
    const result = problem ?? textOf(value);
    const queries = shownQueries([{ sql, result }]);
    if (problem !== undefined) return { state: 'failed', detail: problem, queries };
    const wanted = typeof expect === 'object' && expect !== null ? rangeWords(expect) : textOf(expect);
    if (fits(value, expect))
      return { state: 'passed', detail: `${result}, as expected (${wanted})`, queries };
    return { state: 'failed', detail: `it is ${result}, expected was ${wanted}`, queries };
  } catch (thrown) {
    const error = asHelvinoError(thrown);
    return {
      state: 'failed',
      detail: error.message,
      queries: shownQueries([{ sql, result: error.message }]),
    };
  }
}

export function fits(value: unknown, expect: Assertion['expect']): boolean {
  if (typeof expect !== 'object' || expect === null) {
    if (typeof expect === 'number') return value !== null && value !== '' && Number(value) === expect;
    return textOf(value) === textOf(expect) && (value === null) === (expect === null);
  }
  const number = value === null || value === '' ? Number.NaN : Number(value);
  return (
    number >= (expect.min ?? Number.NEGATIVE_INFINITY) && number <= (expect.max ?? Number.POSITIVE_INFINITY)
  );
}

function rangeWords({ min, max }: { min?: number | undefined; max?: number | undefined }): string {
  return [min === undefined ? '' : `at least ${min}`, max === undefined ? '' : `at most ${max}`]
    .filter((word) => word !== '')
    .join(', ');
}

function textOf(value: unknown): string {
  if (value instanceof Date) return value.toISOString();
  return typeof value === 'object' && value !== null ? JSON.stringify(value) : String(value);
}

/** Clocks of an application and of its server are not the same. */
const clockSlackSeconds = 5;

export interface HeartbeatInput {
  readonly heartbeat: Heartbeat;
  /** What should have been recovered. */
  readonly wanted: Date;
  /** Nothing later may be there: the target was a time. */
  readonly until: boolean;
}

export async function checkHeartbeat(
  connection: ConnectionParams,
  { heartbeat, wanted, until }: HeartbeatInput,
): Promise<Outcome & { loss?: Loss }> {
  const { value, problem } = await askOne(connection, heartbeat);
  const time = value instanceof Date ? value : typeof value === 'string' ? new Date(value) : undefined;
  const known = time !== undefined && !Number.isNaN(time.getTime());
  const result = problem ?? (known ? time.toISOString() : textOf(value));
  const queries = shownQueries([{ sql: heartbeat.sql, result }]);
  if (!known) return { state: 'failed', detail: `there is no time of the heartbeat: ${result}`, queries };
  const age = (wanted.getTime() - time.getTime()) / 1000;
  const where = `the newest row is of ${formatTime(time)}`;
  if (until && age < -clockSlackSeconds)
    return {
      state: 'failed',
      detail: `${where}, after the target ${formatTime(wanted)}: too much was recovered`,
      queries,
    };
  const loss: Loss = { seconds: Math.max(0, age), by: 'the newest heartbeat', exact: true };
  const detail = `${where}, ${formatAge(Math.max(0, age))} before the wanted moment; at most ${formatAge(heartbeat.maxAgeSeconds)} is allowed`;
  return { state: age <= heartbeat.maxAgeSeconds ? 'passed' : 'failed', detail, queries, loss };
}
