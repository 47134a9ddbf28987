import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseToc, selectEntries, selectedTables } from './toc.ts';

const listing = `;
; Archive created at 2026-11-25 15:35:05 UTC
;
3423; 0 0 ENCODING - ENCODING 
7; 2615 16384 SCHEMA - other postgres
909; 1247 16386 TYPE other mood postgres
;	depends on: 7
226; 1255 16391 FUNCTION public f() postgres
220; 1259 16417 TABLE other msg postgres
;	depends on: 7
219; 1259 16404 TABLE public conv postgres
;	depends on: 909 909
3429; 0 0 COMMENT public TABLE conv postgres
;	depends on: 219
218; 1259 16403 SEQUENCE public conv_id_seq postgres
;	depends on: 219
217; 1259 16393 TABLE public org postgres
216; 1259 16392 SEQUENCE public org_id_seq postgres
;	depends on: 217
3431; 0 0 SEQUENCE OWNED BY public org_id_seq postgres
;	depends on: 216
223; 1259 16437 TABLE public parent postgres
224; 1259 16440 TABLE public part1 postgres
;	depends on: 223
221; 1259 16427 VIEW public v postgres
;	depends on: 217 217
3246; 0 0 TABLE ATTACH public part1 postgres
;	depends on: 224 223
3247; 2604 16396 DEFAULT public org id postgres
;	depends on: 216 217 217
3415; 0 16417 TABLE DATA other msg postgres
;	depends on: 220
3414; 0 16404 TABLE DATA public conv postgres
;	depends on: 219
3412; 0 16393 TABLE DATA public org postgres
;	depends on: 217
3417; 0 16440 TABLE DATA public part1 postgres
;	depends on: 224
3432; 0 0 SEQUENCE SET public conv_id_seq postgres
;	depends on: 218
3257; 2606 16421 CONSTRAINT other msg msg_pkey postgres
;	depends on: 220
3255; 2606 16409 CONSTRAINT public conv conv_pkey postgres
;	depends on: 219
3252; 2606 16400 CONSTRAINT public org org_pkey postgres
;	depends on: 217
3253; 1259 16415 INDEX public conv_n postgres
;	depends on: 219
3264; 2620 16416 TRIGGER public conv tr postgres
;	depends on: 219 226
3263; 2606 16422 FK CONSTRAINT other msg msg_conv_fkey postgres
;	depends on: 3255 220 219
3262; 2606 16410 FK CONSTRAINT public conv conv_org_fkey postgres
;	depends on: 219 217 3252
`;

const taken = (schemas: string[], tables: string[]) =>
  selectEntries(parseToc(listing), { schemas, tables }).map((entry) => entry.id);

test('a table – with its type, sequence, index and key; not its trigger and not the key to another table', () => {
  assert.deepEqual(taken([], ['conv']), [3423, 7, 909, 219, 3429, 218, 3414, 3432, 3255, 3253]);
});

test('both ends of a foreign key – the key comes, too', () => {
  assert.ok(taken([], ['public.conv', 'public.org']).includes(3262));
});

test('a serial column – sequence, default and who owns it', () => {
  assert.deepEqual(taken([], ['org']), [3423, 217, 216, 3431, 3247, 3412, 3252]);
});

test('a partitioned table – its partitions and their rows', () => {
  assert.deepEqual(taken([], ['parent']), [3423, 223, 224, 3246, 3417]);
});

test('a schema – what is in it, without the key that leads out of it', () => {
  assert.deepEqual(taken(['other'], []), [3423, 7, 909, 220, 3415, 3257]);
});

test('which tables have their rows – those that were selected', () => {
  const chosen = selectEntries(parseToc(listing), { schemas: ['other'], tables: ['org'] });
  assert.deepEqual([...selectedTables(chosen)], ['other.msg', 'public.org']);
});

test('a name that is not there – refused, and named', () => {
  assert.throws(() => taken([], ['nope']), { code: 'USAGE', message: /no table "nope"/ });
  assert.throws(() => taken(['nope'], []), { code: 'USAGE', message: /no schema "nope"/ });
});
