/** What the plan says must hold in the restored database: SQL assertions, and a heartbeat that proves the recovery point. */
import { asHelvinoError } from '../../base/errors.ts';
import { formatTime } from '../../base/format.ts';
import {
  type ConnectionParams,
  connectSql,
  type OneValue,
  oneValue,
  query,
  timeOf,
} from '../../postgres/index.ts';
import type { Assertion, Heartbeat } from './exercise.ts';
import { apart, type Loss } from './objectives.ts';
import { type Check, shownQueries } from './report.ts';

type Outcome = Omit<Check, 'name' | 'seconds'>;

/** Nothing that a promise does stays. */
const limits = `begin read only; set local statement_timeout = '10min'; set local datestyle = 'ISO, YMD'`;

/** Throws as `query` does. */
async function askOne(
  connection: ConnectionParams,
  { database, sql }: { database: string; sql: string },
): Promise<OneValue> {
  const client = await connectSql(connection, { database });
  try {
    await query(client, limits);
    return await oneValue(client, sql);
  } finally {
    await client.end().catch(() => undefined);
  }
}

export async function checkAssertion(connection: ConnectionParams, assertion: Assertion): Promise<Outcome> {
  const { sql, expect } = assertion;
  try {
    const { value, problem } = await askOne(connection, assertion);
    const result = problem ?? short(textOf(value));
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
    if (typeof expect === 'number') return numberOf(value) === expect;
    return textOf(value) === textOf(expect) && (value === null) === (expect === null);
  }
  const number = numberOf(value);
  return (
    number >= (expect.min ?? Number.NEGATIVE_INFINITY) && number <= (expect.max ?? Number.POSITIVE_INFINITY)
  );
}

/** Not a number for what is none: a list, a truth, a blank text. */
function numberOf(value: unknown): number {
  if (typeof value === 'string' && value.trim() !== '') return Number(value);
  return typeof value === 'number' ? value : Number.NaN;
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

/** A report is no place for rows. */
function short(text: string): string {
  return text.length <= 200 ? text : `${text.slice(0, 200)}…`;
}

/** Clocks of an application and of its server are not the same. */
const clockSlackSeconds = 5;

export interface HeartbeatInput {
  readonly heartbeat: Heartbeat;
  /** What should have been recovered. */
  readonly wanted: Date;
  /** Nothing later may be there: the target was a time. */
  readonly until: boolean;
  readonly now: Date;
}

export async function checkHeartbeat(
  connection: ConnectionParams,
  { heartbeat, wanted, until, now }: HeartbeatInput,
): Promise<Outcome & { loss?: Loss }> {
  const { value, problem } = await askOne(connection, heartbeat);
  const time = value instanceof Date ? value : typeof value === 'string' ? timeOf(value) : undefined;
  const result = problem ?? time?.toISOString() ?? short(textOf(value));
  const queries = shownQueries([{ sql: heartbeat.sql, result }]);
  if (!time) return { state: 'failed', detail: `there is no time of the heartbeat: ${result}`, queries };
  const age = (wanted.getTime() - time.getTime()) / 1000;
  const ahead = (time.getTime() - now.getTime()) / 1000;
  const where = `the newest row is of ${formatTime(time)}`;
  if (until && age < -clockSlackSeconds)
    return {
      state: 'failed',
      detail: `${where}, after the target ${formatTime(wanted)}: too much was recovered`,
      queries,
    };
  // A row of tomorrow would be young enough for ever.
  if (ahead > clockSlackSeconds)
    return {
      state: 'unproven',
      detail: `${where}, which is to come: a clock is wrong, so it proves no recovery point`,
      queries,
    };
  const loss: Loss = { seconds: Math.max(0, age), by: 'the newest heartbeat', exact: true };
  const allowed = apart(Math.max(0, age), heartbeat.maxAgeSeconds);
  const detail = `${where}, ${allowed[0]} before the wanted moment; at most ${allowed[1]} is allowed`;
  return { state: age <= heartbeat.maxAgeSeconds ? 'passed' : 'failed', detail, queries, loss };
}
