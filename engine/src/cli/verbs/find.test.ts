import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FoundTransaction } from '../../operations/find/index.ts';
import { commandsFor, databaseWords } from './find.ts';

const deletes = (database: string): FoundTransaction => ({
  ...{ xid: 753, time: 0, lsn: 1n, end: 2n, partial: false, droppedDatabases: [] },
  changes: [
    {
      ...{ database, schema: 'public', name: 't', oid: 1, file: 1, inserted: 0, updated: 0, deleted: 5 },
      ...{ created: false, dropped: false, truncated: false, rewritten: false },
    },
  ],
  ...{ timeline: 1, isPast: false, unreachable: undefined },
});
const place = ['--config ../helvino.yaml'];

test('an accident before a failover – its rows can still be brought back; one after it on the timeline that was left only looked at', () => {
  assert.deepEqual(commandsFor(deletes('app'), place), {
    restore: 'helvino restore --to before:xid:753 --config ../helvino.yaml --to-directory FOLDER',
    rescue:
      'helvino rescue plan --root TENANTS --key KEY --before xid:753 --dbname app --config ../helvino.yaml --out FILE',
  });
  assert.deepEqual(commandsFor({ ...deletes('app'), isPast: true }, place), {
    restore:
      'helvino restore --to before:xid:753 --timeline 1 --config ../helvino.yaml --to-directory FOLDER',
  });
  assert.deepEqual(commandsFor({ ...deletes('app'), unreachable: 'no backup' }, place), { restore: null });
});

test('a database whose name is not known – not named as if it were its name', () => {
  assert.deepEqual(['database 24656', 'app'].map(databaseWords), ['database 24656', 'database app']);
  assert.match(commandsFor(deletes('database 24656'), place).rescue ?? '', / --dbname DATABASE --config/);
});
