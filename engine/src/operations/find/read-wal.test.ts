import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryRepository } from '../../../test/repository-fixture.ts';
import { commitBytes, recordBytes, walOf } from '../../../test/wal-bytes.ts';
import { systemClock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import { silentProgress } from '../../base/progress.ts';
import { listLogNotes } from '../../repository/index.ts';
import type { StoredLog } from '../wal/log-bytes.ts';
import { StreamIndex } from '../wal/stream-index.ts';
import { readWal } from './read-wal.ts';

const segmentSize = 1 << 20;
const start = 5n << 20n;
const segment = (n: number) => start + BigInt(n * segmentSize);

test('a segment inside a record is lost – what is stored behind it is read all the same', async () => {
  const filler = (bytes: number) =>
    recordBytes({ xid: 7, info: 0, resourceManager: 22, body: Buffer.alloc(bytes, 3) });
  const records = [filler(600_000), filler(3 * segmentSize), commitBytes(9), filler(segmentSize)];
  const wal = walOf(records, { start, segmentSize, magic: 0xd118, segments: 6 });
  const { repository } = await memoryRepository();
  const { signal } = new AbortController();
  const index = new StreamIndex(
    {
      repository,
      database: 'db',
      connection: undefined,
      clock: systemClock,
      progress: silentProgress,
      signal,
    },
    { databases: [], walSegmentSize: segmentSize },
  );
  await index.begin({ timeline: 1, start, restart: start });
  for (const n of [0, 1, 2]) {
    index.push(wal.subarray(n * segmentSize, (n + 1) * segmentSize));
    await index.storeWhole(segment(n + 1));
  }
  await index.close();
  const notes = await listLogNotes(repository, 'db', 'index');
  assert.equal(notes.at(-1)!.begin, notes.at(-1)!.end, 'the last one says how the record goes on');

  const stored = [0, 3, 4].map((n) => ({ line: 1, begin: segment(n), end: segment(n + 1) }));
  const log = {
    pieces: stored,
    async *bytes({ from, to }: { from: bigint; to: bigint }) {
      if (from < segment(3)) throw new HelvinoError('STORAGE_NOT_FOUND', 'not stored without a gap');
      yield wal.subarray(Number(from - start), Number(to - start));
    },
  } as unknown as StoredLog;
  const xids: number[] = [];
  const range = { line: 1, begin: segment(3), end: segment(5) };
  const options = { repository, database: 'db', log, notes, segmentSize, signal, onBytes: () => undefined };
  for await (const { transactions } of readWal(options, range))
    xids.push(...transactions.map(({ xid }) => xid));
  assert.deepEqual(xids, [9]);
});
