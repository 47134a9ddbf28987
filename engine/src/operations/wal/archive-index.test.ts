import assert from 'node:assert/strict';
import { test } from 'node:test';
import { notedProgress } from '../../../test/noted-progress.ts';
import { memoryRepository } from '../../../test/repository-fixture.ts';
import { recordBytes, walOf } from '../../../test/wal-bytes.ts';
import { systemClock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import { ArchiveIndex } from './archive-index.ts';
import { recordedGaps } from './gaps.ts';

const segmentSize = 1 << 20;
const start = 5n << 20n;

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
      const index = new ArchiveIndex({
        repository,
        database: 'main',
        connection: async () => {
          throw new HelvinoError('SERVER_UNREACHABLE', 'there is none');
        },
        clock: systemClock,
        progress,
        signal: new AbortController().signal,
      });
      for (const n of segments)
        await index.add({
          timeline: 1,
          begin: start + BigInt(n * segmentSize),
          bytes: bytes.subarray(n * segmentSize, (n + 1) * segmentSize),
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
