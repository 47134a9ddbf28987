import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { memoryRepository } from '../../../test/repository-fixture.ts';
import { HelvinoError } from '../../base/errors.ts';
import { logPieceName, putLogPiece } from '../../repository/index.ts';
import { SegmentShipper } from './segment-shipper.ts';

const segmentSize = 4096;
const start = 8192n;

async function setUp() {
  const { repository, names } = await memoryRepository();
  const dataKey = { key: randomBytes(32), keyId: '0123456789abcdef' };
  const durable: bigint[] = [];
  const shipper = new SegmentShipper({
    repository,
    database: 'main',
    timeline: 1,
    segmentSize,
    start,
    dataKey: async () => dataKey,
    onDurable: (position) => durable.push(position),
  });
  const occupy = (begin: bigint, end: bigint) =>
    putLogPiece(
      repository.driver,
      logPieceName('main', { line: 1, begin, end }),
      randomBytes(Number(end - begin)),
      { ring: repository.ring, dataKey: dataKey.key, dataKeyId: dataKey.keyId },
    );
  return { shipper, durable, occupy, names: () => names('wal/main/') };
}

test('a part whose name holds other bytes – is not durable; its bytes go with the next part', async () => {
  const { shipper, durable, occupy, names } = await setUp();
  await occupy(start, start + 100n);
  shipper.write(randomBytes(100));
  await shipper.ship();
  assert.deepEqual(durable, []);
  shipper.write(randomBytes(50));
  await shipper.ship();
  assert.deepEqual(durable, [start + 150n]);
  assert.ok((await names()).includes(logPieceName('main', { line: 1, begin: start, end: start + 150n })));
});

test('a whole segment whose name holds other bytes – the shipper fails, nothing is confirmed', async () => {
  const { shipper, durable, occupy } = await setUp();
  await occupy(start, start + BigInt(segmentSize));
  shipper.write(randomBytes(segmentSize));
  await assert.rejects(
    shipper.ship(),
    (thrown) => thrown instanceof HelvinoError && thrown.code === 'WAL_CONFLICT',
  );
  assert.deepEqual(durable, []);
});

test('two ships at once, a segment that fills meanwhile – all is stored once, in order', async () => {
  const { shipper, durable, names } = await setUp();
  shipper.write(randomBytes(100));
  const first = shipper.ship();
  shipper.write(randomBytes(100));
  await Promise.all([first, shipper.ship()]);
  shipper.write(randomBytes(segmentSize));
  await shipper.ship();
  assert.deepEqual(
    durable,
    [100n, 200n, 4096n, 4296n].map((n) => start + n),
  );
  assert.deepEqual(await names(), [
    logPieceName('main', { line: 1, begin: start, end: start + 4096n }),
    logPieceName('main', { line: 1, begin: start + 4096n, end: start + 4296n }),
  ]);
});

test('waiting for something to store – what is there already, what comes later, and the signal end it', async () => {
  const { shipper } = await setUp();
  const stop = new AbortController();
  let arrived = false;
  const waiting = shipper.arrival(stop.signal).then(() => {
    arrived = true;
  });
  await turn();
  assert.equal(arrived, false);
  shipper.write(randomBytes(10));
  await waiting;
  assert.deepEqual(getEventListeners(stop.signal, 'abort'), [], 'one for each commit would never end');
  await shipper.arrival(stop.signal);
  await shipper.ship();
  const last = shipper.arrival(stop.signal);
  stop.abort();
  await last;
});

test('a server with little to write – many short parts give way to one; nothing is lost', async () => {
  const { shipper, durable, names } = await setUp();
  for (let i = 0; i < 200; i++) {
    shipper.write(randomBytes(8));
    await shipper.ship();
  }
  assert.equal(durable.at(-1), start + 1600n);
  const stored = await names();
  assert.ok(stored.length < 130, `${stored.length} parts`);
  const ranges = stored.map((name) =>
    name
      .split('/')
      .at(-1)!
      .split('-')
      .map((hex) => BigInt(`0x${hex}`)),
  );
  ranges.sort(([a], [b]) => Number(a! - b!));
  let at = start;
  for (const [begin, end] of ranges) {
    assert.equal(begin, at);
    at = end!;
  }
  assert.equal(at, start + 1600n);
});
