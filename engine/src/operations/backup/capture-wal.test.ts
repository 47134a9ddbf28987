import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fails } from '../../../test/backup-faults.ts';
import type { ReplicationConnection, WalSink } from '../../postgres/index.ts';
import type { EncoderPool } from '../../repository/index.ts';
import { captureWal } from './capture-wal.ts';
import type { Ingest } from './ingest.ts';

const segmentSize = 1 << 20;
const startLsn = 0x500_0028n;

/**
 * A server that has so many bytes: `first` of them come with its answer. Its stream ends where the timeline does, or when it is
 * told to.
 */
function serverThatEnds(
  after: number,
  { first, ends }: { first: number; ends: boolean },
): ReplicationConnection {
  return {
    startPhysicalReplication: async ({ startLsn: start }: { startLsn: bigint }, sink: WalSink) => {
      sink.wal(start, new Uint8Array(first).fill(1));
      const { promise: done, resolve } = Promise.withResolvers<void>();
      setImmediate(() => {
        sink.wal(start + BigInt(first), new Uint8Array(after - first).fill(1));
        if (ends) resolve();
      });
      return { done, stop: async () => resolve() };
    },
  } as unknown as ReplicationConnection;
}

async function capture(
  after: number,
  length: number,
  how = { first: 0, ends: true },
): Promise<{ segments: number; received: number }> {
  let received = 0;
  const ingest = {
    archive: () => undefined,
    entry: () => undefined,
    entryEnd: () => undefined,
    data: (bytes: Uint8Array) => {
      received += bytes.length;
    },
  } as unknown as Ingest;
  const pool = { congestion: () => undefined } as unknown as EncoderPool;
  const begin = startLsn - (startLsn % BigInt(segmentSize));
  const span = {
    startLsn,
    endLsn: begin + BigInt(length),
    timeline: 1,
    segmentSize,
    slot: undefined,
    mtime: 0,
    owner: { uid: 0, gid: 0 },
  };
  const { segments } = await captureWal(serverThatEnds(after, how), { span, ingest, pool });
  return { segments, received };
}

test('WAL up to the end position – whole segments, the rest zero', async () => {
  assert.deepEqual(await capture(1_500_000, 1_500_000), { segments: 2, received: 2 * segmentSize });
  assert.deepEqual(await capture(segmentSize, segmentSize), { segments: 1, received: segmentSize });
});

test('a server that goes on until it is told to stop – is told, also when all comes with its answer', async () => {
  const all = { segments: 2, received: 2 * segmentSize };
  for (const first of [0, 1, 1_499_999, 1_500_000, 2_000_000])
    assert.deepEqual(await capture(2_000_000, 1_500_000, { first, ends: false }), all);
});

test('a timeline that ends before the position – nothing is filled with zeroes', async () => {
  for (const after of [0, 1, segmentSize, 1_499_999]) {
    const error = await fails(capture(after, 1_500_000), 'SERVER_ERROR');
    assert.match(error.message, /^timeline 1 of the server ended before 0\/516E360, which the backup needs/);
  }
});
