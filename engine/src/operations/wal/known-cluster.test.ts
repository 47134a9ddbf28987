import assert from 'node:assert/strict';
import { test } from 'node:test';
import { otherCluster } from './known-cluster.ts';

const database = 'main';

test('the server that is backed up, or of which nothing is stored yet – no other cluster', () => {
  assert.equal(otherCluster({ database, backups: '1', wal: '1' }, '1'), undefined);
  assert.equal(otherCluster({ database, backups: undefined, wal: '1' }, '1'), undefined);
  assert.equal(otherCluster({ database, backups: undefined, wal: undefined }, '1'), undefined);
});

test('another cluster – both identifiers are said, and what to do: without stored WAL backups of it can go on there', () => {
  const hints = (backups: string | undefined, wal: string | undefined) => {
    const other = otherCluster({ database, backups, wal }, '2');
    assert.match(other?.message ?? '', /identifier is 2; the (backups|WAL stored) of main (is|are) of 1$/);
    return other?.hint ?? '';
  };
  assert.match(hints('1', undefined), /^check the connection; .*--new-cluster/);
  assert.match(hints('1', '1'), /a database of its own/);
  assert.match(hints(undefined, '1'), /a database of its own/);
  // After `backup --new-cluster`: the stream refuses it all the same.
  assert.match(hints('2', '1'), /a database of its own.* cannot be stored beside/);
});
