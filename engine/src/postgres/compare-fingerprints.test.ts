import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareFingerprints } from './compare-fingerprints.ts';
import type { TableFingerprint } from './fingerprint.ts';

const table = (name: string, values: Partial<TableFingerprint> = {}): TableFingerprint => ({
  schema: 's',
  table: name,
  rows: '1',
  hash: '5',
  ...values,
});

function states(source: TableFingerprint[], restored: TableFingerprint[]): string[][] {
  return compareFingerprints(source, restored).map((t) => [t.table, t.state, t.rows, t.content]);
}

test('equal and different tables, missing and extra ones – each named', () => {
  const source = [table('same'), table('rows'), table('hash'), table('missing')];
  const restored = [
    table('extra'),
    table('same'),
    table('rows', { rows: '2' }),
    table('hash', { hash: '6' }),
  ];
  assert.deepEqual(states(source, restored), [
    ['extra', 'different', 'different', 'different'],
    ['hash', 'different', 'equal', 'different'],
    ['missing', 'different', 'different', 'different'],
    ['rows', 'different', 'different', 'equal'],
    ['same', 'equal', 'equal', 'equal'],
  ]);
});

test('what one side did not read – unproven, never equal', () => {
  const skipped = table('a', { rows: null, hash: null, skipped: 'why' });
  assert.deepEqual(states([skipped], [table('a')]), [['a', 'unproven', 'unproven', 'unproven']]);
  assert.deepEqual(states([table('a')], [skipped]), [['a', 'unproven', 'unproven', 'unproven']]);
  assert.deepEqual(states([table('a', { hash: null })], [table('a', { hash: null })]), [
    ['a', 'equal', 'equal', 'unproven'],
  ]);
  assert.deepEqual(states([table('a', { hash: null })], [table('a', { rows: '2' })]), [
    ['a', 'different', 'different', 'unproven'],
  ]);
});

test('a restored table that is damaged – different, unless the source was damaged already', () => {
  const damaged = table('a', { rows: null, hash: null, skipped: 'invalid page', damaged: true });
  const [compared] = compareFingerprints([table('a')], [damaged]);
  assert.deepEqual([compared!.state, compared!.reason], ['different', 'invalid page']);
  assert.deepEqual(states([damaged], [damaged]), [['a', 'unproven', 'unproven', 'unproven']]);
});

test('names that look alike when joined – told apart', () => {
  assert.equal(
    compareFingerprints([{ ...table('b.c'), schema: 'a' }], [{ ...table('c'), schema: 'a.b' }]).length,
    2,
  );
});
