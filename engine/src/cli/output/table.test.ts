import assert from 'node:assert/strict';
import { test } from 'node:test';
import { facts, table } from './table.ts';

test('a table – columns are aligned, no blanks at the ends of lines', () => {
  const lines = table(
    [{ title: 'name' }, { title: 'size', align: 'right' }, { title: 'state' }],
    [
      ['a', '1 B', 'good'],
      ['longer', '100 MiB', ''],
    ],
  );
  assert.deepEqual(lines, ['name       size  state', 'a           1 B  good', 'longer  100 MiB']);
});

test('a table without rows – the titles', () => {
  assert.deepEqual(table([{ title: 'name' }, { title: 'size' }], []), ['name  size']);
});

test('facts – values are aligned, what is not known is left out', () => {
  assert.deepEqual(
    facts([
      ['id', '1'],
      ['label', undefined],
      ['finished', 'today'],
    ]),
    ['id        1', 'finished  today'],
  );
});
