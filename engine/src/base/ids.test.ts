import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backupId, backupIdTime } from './ids.ts';

test('backups of one second – their names are in the order of time', () => {
  const begin = Date.UTC(2026, 10, 25, 12, 3, 2);
  const ids = Array.from({ length: 1000 }, (_, ms) => backupId(new Date(begin + ms)));
  assert.deepEqual([...ids].sort(), ids);
  assert.match(ids[500]!, /^20261125T120302Z-1f4[0-9a-f]{5}$/);
  for (const id of ids) assert.equal(backupIdTime(id)?.getTime(), begin);
  for (const other of ['', 'latest', '20261125T1203Z-1f4']) assert.equal(backupIdTime(other), undefined);
});
