import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { memoryRepository, TestClock } from '../../test/repository-fixture.ts';
import { applyCollect, planCollect } from './collect.ts';
import { logPieceName, putLogPiece } from './log-store.ts';

const dataKey = { key: randomBytes(32), keyId: '0123456789abcdef' };

async function setUp() {
  const { repository, clock, names } = await memoryRepository();
  assert.ok(clock instanceof TestClock);
  const put = async (begin: number, end: number) => {
    const name = logPieceName('main', { line: 1, begin: BigInt(begin), end: BigInt(end) });
    await putLogPiece(repository.driver, name, Buffer.alloc(end - begin, 7), {
      ring: repository.ring,
      dataKey: dataKey.key,
      dataKeyId: dataKey.keyId,
    });
    return name;
  };
  const collect = async () => {
    const options = { graceMs: 3600_000 };
    return (await applyCollect(repository, await planCollect(repository, options), options)).parts;
  };
  return { repository, clock, put, collect, names: () => names('wal/') };
}

test('parts that a longer piece holds – go after the grace time; what no other holds stays', async () => {
  const { clock, put, collect, names } = await setUp();
  const parts = [await put(0, 10), await put(10, 30), await put(90, 100)];
  const others = [await put(0, 100), await put(100, 110), await put(95, 105)];
  assert.deepEqual(await collect(), []);
  clock.advance(3601_000);
  const removed = await collect();
  assert.deepEqual(removed.map(({ name }) => name).sort(), parts.sort());
  assert.deepEqual((await names()).sort(), others.sort());
});

test('the longer piece is damaged – its parts stay', async () => {
  const { repository, clock, put, collect, names } = await setUp();
  await put(0, 10);
  const whole = await put(0, 100);
  const bytes = Buffer.from(await repository.driver.get(whole));
  bytes[bytes.length - 1]! ^= 1;
  await repository.driver.remove(whole);
  await repository.driver.put(whole, [bytes], { ifAbsent: true });
  clock.advance(3601_000);
  assert.deepEqual(await collect(), []);
  assert.equal((await names()).length, 2);
});
