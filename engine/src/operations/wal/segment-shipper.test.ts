import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { memoryRepository } from '../../../test/repository-fixture.ts';
import { HelvinoError } from '../../base/errors.ts';
import {
  LogSealer,
  logPieceName,
  PieceOpener,
  putLogPiece,
  type Repository,
} from '../../repository/index.ts';
import { type FaultPlan, withFaults } from '../../storage/testing/faulty-driver.ts';
import { SegmentShipper } from './segment-shipper.ts';

const segmentSize = 4096;
const start = 8192n;

async function setUp({ sealer, faults = {} }: { sealer?: LogSealer; faults?: FaultPlan } = {}) {
  const { repository: plain, driver, names } = await memoryRepository();
  const puts: string[] = [];
  const faulty = withFaults(driver, faults);
  const repository = Object.assign(Object.create(plain) as Repository, {
    driver: {
      ...faulty,
      put: async (...words: Parameters<typeof faulty.put>) => {
        puts.push(words[0]);
        await faulty.put(...words);
        puts.push(`${words[0]} is stored`);
      },
    },
  });
  const dataKey = { key: randomBytes(32), keyId: '0123456789abcdef' };
  const durable: bigint[] = [];
  const shipper = new SegmentShipper({
    repository,
    database: 'main',
    timeline: 1,
    segmentSize,
    start,
    sealer,
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
  return { shipper, durable, occupy, puts, repository, dataKey, names: () => names('wal/main/') };
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

const nameOf = (n: number) => {
  const begin = start + BigInt(n * segmentSize);
  return logPieceName('main', { line: 1, begin, end: begin + BigInt(segmentSize) });
};

test('segments sealed in threads, the first is slow to store – the next are stored meanwhile, and reported after it', async () => {
  const sealer = new LogSealer({ workers: 2 });
  try {
    const faults = { calls: [{ on: 'put', prefix: nameOf(0), nth: 1, delayMs: 300 }] } as const;
    const { shipper, durable, puts, names, repository, dataKey } = await setUp({ sealer, faults });
    const bytes = randomBytes(3 * segmentSize + 10);
    shipper.write(bytes.subarray(0, 100));
    await shipper.ship();
    for (let at = 100; at < bytes.length; ) {
      await shipper.congestion();
      shipper.write(bytes.subarray(at, at + segmentSize));
      at += segmentSize;
    }
    await shipper.ship();
    assert.deepEqual(
      durable,
      [100, segmentSize, 2 * segmentSize, 3 * segmentSize, 3 * segmentSize + 10].map(
        (n) => start + BigInt(n),
      ),
    );
    const order = [nameOf(1), `${nameOf(0)} is stored`].map((event) => puts.indexOf(event));
    assert.ok(order[0]! > 0 && order[0]! < order[1]!, puts.join('\n'));
    assert.equal((await names()).length, 4, 'the first part has given way');
    for (let n = 0; n < 3; n++) {
      const plain = new PieceOpener().open(await repository.driver.get(nameOf(n)), nameOf(n), dataKey.key);
      assert.ok(bytes.subarray(n * segmentSize, (n + 1) * segmentSize).equals(plain), `segment ${n}`);
    }
  } finally {
    await sealer.close();
  }
});

test('a segment cannot be stored, the next one is – nothing from the first on is reported', async () => {
  const sealer = new LogSealer({ workers: 2 });
  try {
    const faults = { calls: [{ on: 'put', prefix: nameOf(0), nth: 1, error: 'STORAGE_IO' }] } as const;
    const { shipper, durable } = await setUp({ sealer, faults });
    shipper.write(randomBytes(2 * segmentSize));
    await assert.rejects(shipper.ship(), { code: 'STORAGE_IO' });
    assert.deepEqual(durable, []);
    assert.throws(() => shipper.write(randomBytes(1)), { code: 'STORAGE_IO' });
  } finally {
    await sealer.close();
  }
});
