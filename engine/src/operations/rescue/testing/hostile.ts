/** What someone may write into a file that they know is read back. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Client } from 'pg';
import { HelvinoError } from '../../../base/errors.ts';

/** Written by these statements, if anything of a file were run as SQL. */
export const canary = 'hv_canary';

const injections = [
  `x"; create table public.${canary}_1 (); --`,
  `"; create table public.${canary}_2 (); select "`,
  `x'; create table public.${canary}_3 (); --`,
  `int); create table public.${canary}_4 (); --`,
  `bigint(1--\n); create table public.${canary}_5 (); select (1)`,
  `integer; create table public.${canary}_6 ()`,
  `$$; create table public.${canary}_7 (); $$`,
  `public.t; create table public.${canary}_8 ()`,
  `"public"."t" t; create table public.${canary}_9 (); --`,
];

const strings = fc.oneof(
  fc.constantFrom(...injections),
  fc.constantFrom(
    '',
    '\0',
    'a\0b',
    '__proto__',
    'constructor',
    '..',
    '../../etc/passwd',
    'data/../../x.csv',
    'data/x.csv\n',
    '/dev/zero',
    '\ud800',
    '\u202e',
    '\u001b[2J',
    'pg_catalog.pg_authid',
    'pg_authid',
    'ctid',
    'tableoid',
    '*',
    'a'.repeat(100_000),
  ),
  fc.string({ unit: 'binary' }),
);

export const hostileValue: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 5, arbitrary: strings },
  fc.constantFrom(null, true, 0, -1, 1, 2, 1.5, 2 ** 53, 1e308, [], {}, [[]], undefined),
  fc.dictionary(fc.constantFrom('__proto__', 'id', 'x', 'toString'), strings),
  fc.array(strings, { maxLength: 3 }),
);

/** Refused by us, in order: neither a crash of ours nor of the server. */
export function assertRefused(thrown: unknown): void {
  if (!(thrown instanceof HelvinoError)) throw thrown;
  assert.notEqual(thrown.code, 'INTERNAL', String(thrown.stack));
  assert.notEqual(thrown.code, 'SERVER_GONE', String(thrown.stack));
}

/** Nothing of a file was run as SQL. */
export async function assertNoCanary(client: Client): Promise<void> {
  const { rows } = await client.query(`select relname from pg_class where relname like '${canary}%'`);
  assert.deepEqual(rows, []);
}

/** A copy in which the nth value, counted through all objects and arrays, is another; undefined takes it out. */
export function replaceOne<T>(value: T, n: number, other: unknown): T {
  const copy = structuredClone(value);
  const places: { readonly holder: Record<string, unknown>; readonly key: string }[] = [];
  const walk = (holder: unknown) => {
    if (typeof holder !== 'object' || holder === null) return;
    for (const [key, inner] of Object.entries(holder)) {
      places.push({ holder: holder as Record<string, unknown>, key });
      walk(inner);
    }
  };
  walk(copy);
  const { holder, key } = places[n % places.length]!;
  if (other === undefined && !Array.isArray(holder)) delete holder[key];
  else holder[key] = other ?? null;
  return copy;
}
