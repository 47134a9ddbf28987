import assert from 'node:assert/strict';
import { test } from 'node:test';
import { notedProgress } from '../../../test/noted-progress.ts';
import { memoryRepository } from '../../../test/repository-fixture.ts';
import { recordBytes, walOf } from '../../../test/wal-bytes.ts';
import { systemClock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import { silentProgress } from '../../base/progress.ts';
import type { Repository } from '../../repository/index.ts';
import { ArchiveIndex } from './archive-index.ts';
import { recordedGaps } from './gaps.ts';
import { StreamIndex } from './stream-index.ts';

const segmentSize = 1 << 20;
const start = 5n << 20n;

const made = (repository: Repository, progress = silentProgress) =>
  new ArchiveIndex({
    repository,
    database: 'main',
    connection: async () => {
      throw new HelvinoError('SERVER_UNREACHABLE', 'there is none');
    },
    clock: systemClock,
    progress,
    signal: new AbortController().signal,
  });

test('a segment in which its timeline was left, archived whole – what is behind that is not read', async () => {
  const short = recordBytes({ xid: 7, info: 0, resourceManager: 22, body: Buffer.alloc(600_000, 4) });
  const bytes = walOf([short], { start, segmentSize, magic: 0xd118 });
  const left =
    start + BigInt(bytes.lastIndexOf(4) + 1 + 7) - ((start + BigInt(bytes.lastIndexOf(4) + 1 + 7)) % 8n);
  for (const known of [left, undefined]) {
    const { repository } = await memoryRepository();
    const index = made(repository);
    await index.add({ timeline: 1, begin: start, bytes, left: known });
    await index.close();
    assert.equal((await recordedGaps(repository, 'main')).length, known === undefined ? 1 : 0);
  }
});

test('damage in a part of a segment that is sent again, and is good then – no gap', async () => {
  const short = recordBytes({ xid: 7, info: 0, resourceManager: 22, body: Buffer.alloc(6000, 4) });
  const good = walOf(
    Array.from({ length: 400 }, () => short),
    { start, segmentSize, magic: 0xd118, segments: 3 },
  );
  const bad = Buffer.from(good);
  bad[300_000] = bad[300_000]! ^ 1;
  const { repository } = await memoryRepository();
  const { progress, notes } = notedProgress();
  const options = { repository, database: 'main', connection: undefined, clock: systemClock, progress };
  const source = { databases: [], walSegmentSize: segmentSize };
  const place = { timeline: 1, start, restart: start };
  for (const [bytes, isWhole] of [
    [bad.subarray(0, 700_000), false],
    [good.subarray(0, segmentSize), true],
  ] as const) {
    const index = new StreamIndex({ ...options, signal: new AbortController().signal }, source);
    await index.begin(place);
    index.push(bytes);
    await index.storePart(true);
    if (isWhole) await index.storeWhole(start + BigInt(segmentSize));
    await index.close();
  }
  assert.deepEqual([await recordedGaps(repository, 'main'), notes], [[], []]);
});

test('a receiver that begins anew within a record – the record is checked once it is whole', async () => {
  const long = recordBytes({ xid: 7, info: 0, resourceManager: 22, body: Buffer.alloc(1_500_000, 3) });
  const short = recordBytes({ xid: 7, info: 0, resourceManager: 22, body: Buffer.alloc(600_000, 4) });
  const wal = walOf([short, long, short, long], { start, segmentSize, magic: 0xd118, segments: 5 });
  for (const flipped of [undefined, 700_000]) {
    const { repository } = await memoryRepository();
    const bytes = Buffer.from(wal);
    if (flipped !== undefined) bytes[flipped] = bytes[flipped]! ^ 4;
    const { progress, notes } = notedProgress();
    for (const segments of [[0], [1, 2]]) {
      const index = made(repository, progress);
      for (const n of segments)
        await index.add({
          timeline: 1,
          begin: start + BigInt(n * segmentSize),
          bytes: bytes.subarray(n * segmentSize, (n + 1) * segmentSize),
          left: undefined,
        });
      await index.close();
    }
    const gaps = await recordedGaps(repository, 'main');
    assert.deepEqual(
      gaps.map(({ reason, to }) => [reason, to]),
      flipped === undefined ? [] : [['damaged', start + 3n * BigInt(segmentSize)]],
      notes.join('\n'),
    );
  }
});
