/** Values of many types, as the text that PostgreSQL reads. */
import type { Random } from './random.ts';

export interface ValueType {
  readonly type: string;
  value(random: Random): string;
}

const words = [
  '',
  ' ',
  'alpha',
  'Grüße',
  '日本',
  "o'clock",
  '\\N',
  '\\.',
  'tab\there',
  'line\nbreak',
  '"quoted"',
  '🙂',
  'a\\b',
];

export function someText(random: Random): string {
  if (random.chance(0.03)) return random.hex(random.int(3_000, 60_000));
  return `${random.pick(words)}${random.int(0, 99)}${random.pick(words)}`;
}

function quotedItem(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

function someJson(random: Random): string {
  const pieces = [
    () => '{}',
    () => 'null',
    () => `[1, 2,  ${random.int(0, 1e6)}.50]`,
    () => `{"b":1,  "a": ${JSON.stringify(someText(random))}, "b": 2}`,
    () => `{"deep": {"list": [true, null, {"x": ${random.int(-5, 5)}e3}]}}`,
  ];
  return random.pick(pieces)();
}

const uuid = (random: Random) => random.hex(32).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');

/** Types that the schema itself makes are in `declaredTypes`. */
export const valueTypes: readonly ValueType[] = [
  { type: 'text', value: someText },
  { type: 'varchar(400)', value: (random) => someText(random).slice(0, 60) },
  { type: 'char(6)', value: (random) => random.hex(random.int(1, 6)) },
  { type: 'integer', value: (random) => String(random.int(-2147483648, 2147483647)) },
  { type: 'smallint', value: (random) => String(random.int(-99, 99)) },
  {
    type: 'bigint',
    value: (random) => random.pick(['9223372036854775807', '-9223372036854775808', '0', '17']),
  },
  {
    type: 'numeric',
    value: (random) =>
      random.pick(['NaN', '1.10', '1.1', '0.00000000000000000001', '-12345678901234567890.5']),
  },
  { type: 'numeric(12,2)', value: (random) => String(random.int(-1e6, 1e6) / 100) },
  {
    type: 'double precision',
    value: (random) =>
      random.pick(['0.1', '-0', 'NaN', 'Infinity', '1e300', '5e-324', '0.30000000000000004']),
  },
  { type: 'real', value: (random) => random.pick(['0.1', '-0', 'NaN', '3.4e38', '1.17549435e-38']) },
  { type: 'boolean', value: (random) => random.pick(['t', 'f']) },
  {
    type: 'timestamptz',
    value: (random) =>
      random.pick([
        'infinity',
        '2026-03-29 02:30:00+01',
        '0044-03-15 12:00:00+00 BC',
        '2026-11-25 18:00:00.123456+00',
      ]),
  },
  { type: 'timestamp', value: (random) => random.pick(['-infinity', '1999-12-31 23:59:59.999999']) },
  { type: 'date', value: (random) => `2026-0${random.int(1, 9)}-1${random.int(0, 9)}` },
  { type: 'time with time zone', value: () => '23:59:59.5+05:30' },
  {
    type: 'interval',
    value: (random) => random.pick(['1 year 2 mons -3 days', '24:00:00', '1 day', '-00:00:00.000001']),
  },
  { type: 'uuid', value: uuid },
  { type: 'json', value: someJson },
  { type: 'jsonb', value: someJson },
  { type: 'xml', value: (random) => `<a b="${random.int(0, 9)}">x</a>` },
  {
    type: 'bytea',
    value: (random) => `\\x${random.hex(random.chance(0.05) ? 20_000 : 2 * random.int(0, 20))}`,
  },
  { type: 'integer[]', value: (random) => random.pick(['{}', '{1,NULL,3}', '{{1,2},{3,4}}', '[0:1]={7,8}']) },
  { type: 'text[]', value: (random) => `{${quotedItem(someText(random))},NULL,"NULL",""}` },
  { type: 'jsonb[]', value: () => '{"{\\"a\\": 1}",NULL}' },
  { type: 'inet', value: (random) => random.pick(['10.0.0.1', '10.0.0.1/24', '::1']) },
  { type: 'point', value: (random) => `(${random.int(0, 9)},-0)` },
  { type: 'bit(5)', value: (random) => random.pick(['10101', '00000']) },
  { type: 'money', value: (random) => `$${random.int(0, 999)}.25` },
  { type: 'tsvector', value: (random) => `'a${random.int(0, 9)}':1A 'b':2` },
  { type: 'int4range', value: (random) => `[${random.int(0, 9)},${random.int(10, 20)})` },
  { type: '"char"', value: (random) => random.pick(['a', 'Z']) },
];

/** In the schema "types", see `declaredTypes`. */
export const ownTypes: readonly ValueType[] = [
  { type: '"types"."Mood"', value: (random) => random.pick(['happy', 'so so', "it's"]) },
  { type: '"types"."Mood"[]', value: (random) => random.pick(['{}', '{happy,"so so"}']) },
  { type: '"types"."short text"', value: (random) => someText(random).slice(0, 50) },
  { type: '"types".positive', value: (random) => String(random.int(1, 1e6)) },
  { type: '"types".pair', value: (random) => `(${random.int(0, 9)},"a ""b"" c")` },
  { type: '"types".pair[]', value: () => '{"(1,x)","(2,)"}' },
];

export const declaredTypes = `
  create schema "types";
  create type "types"."Mood" as enum ('happy', 'so so', 'it''s');
  create domain "types"."short text" as text check (length(value) <= 60);
  create extension citext; create extension ltree;
  create domain "types".path as ltree;
  create domain "types".positive as integer check (value > 0);
  create type "types".pair as (one integer, "t""wo" text);`;
