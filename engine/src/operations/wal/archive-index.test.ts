import assert from 'node:assert/strict';
import { test } from 'node:test';
import { notedProgress } from '../../../test/noted-progress.ts';
import { memoryRepository } from '../../../test/repository-fixture.ts';
import { recordBytes, walOf } from '../../../test/wal-bytes.ts';
import { systemClock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import { silentProgress } from '../../base/progress.ts';
import { continuousRanges } from '../../catalog/index.ts';
import { listLogNotes, type Repository } from '../../repository/index.ts';
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

/** The long one begins in the first segment and ends in the last, which another one fills. */
function longRecord(segments: number): Buffer {
  const filler = (bytes: number, byte: number) =>
    recordBytes({ xid: 7, info: 0, resourceManager: 22, body: Buffer.alloc(bytes, byte) });
  const short = filler(600_000, 4);
  const long = filler(segmentSize * (segments - 2) + 450_000, 3);
  const place = { start, segmentSize, magic: 0xd118, segments: segments + 2 };
  return walOf([short, long, short, filler(segmentSize, 3)], place);
}

for (const [receivers, flipped] of [
  [[[0], [1, 2]], [700_000]],
  [
    [[0], [1], [2], [3, 4]],
    [700_000, 1_500_000, 2_500_000],
  ],
  [
    [[0, 1], [2, 3], [4]],
    [700_000, 3_200_000],
  ],
  // A segment is archived once more: its answer was lost.
  [[[0], [1], [1, 2]], [700_000]],
  [[[0, 1, 1, 2]], [700_000, 1_500_000]],
  [
    [[0], [1], [2], [1, 2, 2, 3]],
    [700_000, 2_500_000],
  ],
] as const)
  test(`receivers that begin anew within a record (segments ${JSON.stringify(receivers)}) – it is checked once it is whole`, async () => {
    const last = receivers.flat().at(-1)!;
    for (const at of [undefined, ...flipped]) {
      const { repository } = await memoryRepository();
      const bytes = longRecord(last + 1);
      if (at !== undefined) bytes[at] = bytes[at]! ^ 4;
      const { progress, notes } = notedProgress();
      for (const segments of receivers) {
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
        at === undefined ? [] : [['damaged', start + BigInt((last + 1) * segmentSize)]],
        notes.join('\n'),
      );
    }
  });

test('a stream that ends within a record, when more has come than is stored – the next one checks it', async () => {
  for (const flipped of [undefined, 1_500_000]) {
    const { repository } = await memoryRepository();
    const { progress } = notedProgress();
    const options = { repository, database: 'main', connection: undefined, clock: systemClock, progress };
    const bytes = longRecord(5);
    if (flipped !== undefined) bytes[flipped] = bytes[flipped]! ^ 4;
    const run = async (first: number, pushed: number, stored: number[]) => {
      const { signal } = new AbortController();
      const index = new StreamIndex({ ...options, signal }, { databases: [], walSegmentSize: segmentSize });
      const from = start + BigInt(first * segmentSize);
      assert.equal(await index.begin({ timeline: 1, start: from, restart: from }), from);
      index.push(bytes.subarray(first * segmentSize, pushed));
      for (const n of stored) await index.storeWhole(start + BigInt((n + 1) * segmentSize));
      await index.storePart(true);
      await index.close();
    };
    await run(0, 2 * segmentSize + 200_000, [0, 1]);
    await run(2, 3 * segmentSize + 8192, [2]);
    await run(3, 5 * segmentSize, [3, 4]);
    assert.equal((await recordedGaps(repository, 'main')).length, flipped === undefined ? 0 : 1);
    const notes = await listLogNotes(repository, 'main', 'index');
    // What goes across whole segments is no one's: `find` reads it from the WAL.
    const ranges = continuousRanges(notes.filter(({ begin, end }) => end > begin));
    const begins = [start, ...(flipped === undefined ? [start + 3n * BigInt(segmentSize)] : [])];
    assert.deepEqual(
      ranges.map(({ begin }) => begin),
      begins,
    );
  }
});
