import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RelationChange } from '../../postgres/index.ts';
import { matches } from './find-filter.ts';

const change: RelationChange = {
  oid: 17001,
  file: 17002,
  database: 'shop',
  schema: 'public',
  name: 'messages_2026_11',
  inserted: 0,
  updated: 0,
  deleted: 1,
  created: false,
  dropped: false,
  truncated: false,
  rewritten: false,
};

function isFound(wanted: string, over: Partial<RelationChange> = {}): boolean {
  const changes = [{ ...change, ...over }];
  const transaction = { xid: 1, time: 1, lsn: 1n, end: 2n, partial: false, changes, droppedDatabases: [] };
  return matches(transaction, { tables: [wanted], drops: false, truncates: false, all: false });
}

test('a star in the name of a table – stands for any text: the partitions of a table', () => {
  for (const wanted of [
    'messages*',
    '*_11',
    'm*2026*1',
    'public.messages_*',
    'shop.*.messages*',
    '*',
    'messages_2026_11*',
  ])
    assert.ok(isFound(wanted), wanted);
  for (const wanted of [
    'messages',
    'essages*',
    '*_12',
    'm*2027*',
    'other.messages*',
    'messages_2026_11*1',
    'm.*',
  ])
    assert.ok(!isFound(wanted), wanted);
  assert.ok(isFound('a*b', { name: 'a*b' }), 'a name that has a star');
  assert.ok(isFound('unknown.messages*', { schema: undefined }), 'while the schema is not known');
});
