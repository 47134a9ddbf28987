import assert from 'node:assert/strict';
import { test } from 'node:test';
import { beforeDrop, type SeenEvent } from './database-drops.ts';

const drop = { xid: 9, marked: 100n, gone: 200n };
const commit = (xid: number, lsn: bigint) =>
  ({ kind: 'commit', xid, lsn, end: lsn + 32n, time: 0n, subtransactions: [] }) as const;

/** Where recovery ends that was to end before (or after) the commit of `xid` at 300; the newest commit before is at `committed`. */
function endOf(
  {
    xid = 9,
    committed,
    after = false,
    undone = false,
  }: { xid?: number; committed: bigint; after?: boolean; undone?: boolean },
  open: SeenEvent['drop'] = drop,
): [bigint, string] {
  const event = commit(xid, 300n);
  const ending = { end: after ? event.end : event.lsn, description: 'there' };
  const { end, description } = beforeDrop(
    ending,
    { event, lsn: event.lsn, end: event.end, drop: open, committed },
    undone,
  );
  return [end, description];
}

test('nothing was committed since the drop began – recovery ends before it', () => {
  assert.deepEqual(endOf({ committed: 90n })[0], 100n);
  assert.deepEqual(endOf({ xid: 12, committed: 90n })[0], 100n);
});

test('something was committed while the drop was marking – it is kept, and so are the files; what to do is said', () => {
  const [end, words] = endOf({ committed: 150n });
  assert.equal(end, 200n);
  assert.match(words, /UPDATE pg_database SET datconnlimit = -1/);
});

test('something was committed after the files were gone – it is kept, unless the drop itself is to be undone', () => {
  const [end, words] = endOf({ committed: 250n });
  assert.equal(end, 300n);
  assert.match(words, /files of that database are gone there \(before:xid:9 has them\)/);
  assert.equal(endOf({ committed: 250n, undone: true })[0], 200n);
  assert.equal(endOf({ xid: 12, committed: 250n, undone: true })[0], 300n, 'another transaction is');
  assert.equal(endOf({ xid: 12, committed: 90n, after: true })[0], 332n, 'the transaction that is wanted');
});

test('the drop is done, or there is none – as it was', () => {
  assert.deepEqual(endOf({ committed: 90n, after: true }), [332n, 'there']);
  const event = commit(9, 300n);
  const seen = { event, lsn: 300n, end: 332n, drop: undefined, committed: 90n };
  assert.equal(beforeDrop({ end: 300n, description: '' }, seen, true).end, 300n);
});
