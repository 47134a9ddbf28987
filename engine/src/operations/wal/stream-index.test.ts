import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { notedProgress } from '../../../test/noted-progress.ts';
import { memoryRepository } from '../../../test/repository-fixture.ts';
import { commitBytes, recordBytes, walOf } from '../../../test/wal-bytes.ts';
import { systemClock } from '../../base/clock.ts';
import { decodeLogIndex, formatLsn } from '../../postgres/index.ts';
import { listLogNotes, openLogNote } from '../../repository/index.ts';
import type { ToIndexer } from './index-messages.ts';
import { StreamIndex } from './stream-index.ts';

const segmentSize = 1 << 20;
const start = 5n << 20n;
const segments = 6;

/** A commit after every so many bytes, numbered from 100 on. */
function wal(): Buffer {
  const filler = recordBytes({ xid: 7, info: 0, resourceManager: 22, body: Buffer.alloc(50_000, 4) });
  const records = Array.from({ length: 110 }, (_, i) => [filler, commitBytes(100 + i)]).flat();
  return walOf(records, { start, segmentSize, magic: 0xd118, segments });
}

test('the thread that makes the index fails – a new one begins with a segment, not at once, and says once that there is a hole', async () => {
  const { repository } = await memoryRepository();
  const { progress, notes } = notedProgress();
  let ahead = 0;
  const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + ahead };
  const { signal } = new AbortController();
  const options = { repository, database: 'main', connection: undefined, clock, progress, signal };
  const index = new StreamIndex(options, { databases: [], walSegmentSize: segmentSize });
  await index.begin({ timeline: 1, start, restart: start });
  const bytes = wal();
  const { postMessage } = Worker.prototype;
  let fails = false;
  mock.method(Worker.prototype, 'postMessage', function (this: Worker, message: ToIndexer) {
    const spoilt = fails && message.type === 'wal';
    postMessage.call(this, spoilt ? { type: 'snapshot', snapshot: null } : message);
  });
  try {
    for (let n = 0; n < segments; n++) {
      fails = n === 1;
      if (n === 3) ahead = 61_000;
      // As they come from a socket.
      const segment = bytes.subarray(n * segmentSize, (n + 1) * segmentSize);
      for (let at = 0; at < segmentSize; at += 60_000) {
        index.push(segment.subarray(at, at + 60_000));
        await sleep(1);
      }
      // The last has no end.
      if (n < segments - 1) await index.storeWhole(start + BigInt((n + 1) * segmentSize));
      else await index.storePart(true);
    }
  } finally {
    mock.restoreAll();
    await index.close();
  }
  assert.equal(notes.length, 1, notes.join('\n'));
  assert.match(notes[0]!, /the index of WAL stops .*still stored/);
  const parts: { begin: bigint; end: bigint; xids: number[] }[] = [];
  for (const note of await listLogNotes(repository, 'main', 'index')) {
    const { transactions } = decodeLogIndex(await openLogNote(repository, note.name), note.name);
    parts.push({ begin: note.begin, end: note.end, xids: transactions.map(({ xid }) => xid) });
  }
  const segmentsOf = (position: bigint) => Number(position - start) / segmentSize;
  const last = parts.at(-1)!;
  assert.equal(parts[0]!.begin, start);
  const [hole] = parts.flatMap(({ end }, i) => (parts[i + 1] && end < parts[i + 1]!.begin ? [i] : []));
  assert.equal(hole, 0, parts.map(({ begin, end }) => `${formatLsn(begin)}-${formatLsn(end)}`).join(' '));
  assert.equal(segmentsOf(parts[1]!.begin), 4);
  assert.ok(segmentsOf(last.end) > 5.2);
  const found = parts.slice(1).flatMap(({ xids }) => xids);
  assert.ok(found.length > 20);
  assert.deepEqual(
    found,
    Array.from({ length: found.length }, (_, i) => found[0]! + i),
    'each of them, once',
  );
});
