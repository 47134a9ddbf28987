import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Clock } from '../base/clock.ts';
import { HelvinoError } from '../base/errors.ts';
import { openMemoryDriver, type RetryFacts, type StorageDriver, withRetry } from './index.ts';
import { hasCode, namesOf, patterned, pieces, text } from './testing/contract-tools.ts';
import { type FaultPlan, withFaults } from './testing/faulty-driver.ts';

const once = { ifAbsent: true };

function setUp(plan: FaultPlan, attempts = 4) {
  const pauses: number[] = [];
  const retries: RetryFacts[] = [];
  const clock: Clock = {
    now: () => new Date(0),
    monotonic: () => 0,
    sleep: async (milliseconds) => {
      pauses.push(milliseconds);
    },
  };
  const store = openMemoryDriver();
  const faulty = withFaults(store, plan);
  const driver = withRetry(faulty, { attempts, baseMs: 100, clock, onRetry: (retry) => retries.push(retry) });
  return { store, faulty, driver, pauses, retries };
}

describe('every call that fails twice with STORAGE_UNAVAILABLE', () => {
  const calls: readonly [string, (driver: StorageDriver) => Promise<unknown>, unknown][] = [
    ['put', (driver) => driver.put('new', [text('x')], once), undefined],
    ['get', async (driver) => Buffer.from(await driver.get('x')).toString(), 'content'],
    ['head', async (driver) => (await driver.head('x'))?.size, 7],
    ['list', (driver) => namesOf(driver, ''), ['x']],
    ['remove', (driver) => driver.remove('x'), undefined],
    ['now', async (driver) => (await driver.now()) instanceof Date, true],
    ['extendRetention', (driver) => driver.extendRetention('x', new Date(0)), undefined],
  ];
  for (const [name, call, expected] of calls) {
    test(`${name} – succeeds at the third try, after growing pauses that were told`, async () => {
      const { driver, store, pauses, retries } = setUp({
        calls: [{ on: 'any', nth: 1, times: 2, error: 'STORAGE_UNAVAILABLE' }],
      });
      await store.put('x', [text('content')], once);
      assert.deepEqual(await call(driver), expected);
      assert.equal(pauses.length, 2);
      assert.ok(pauses[0]! >= 50 && pauses[0]! <= 100, `${pauses}`);
      assert.ok(pauses[1]! >= 100 && pauses[1]! <= 200, `${pauses}`);
      assert.deepEqual(
        retries.map(({ attempt, error }) => [attempt, error.code]),
        [
          [1, 'STORAGE_UNAVAILABLE'],
          [2, 'STORAGE_UNAVAILABLE'],
        ],
      );
    });
  }
});

test('a store that stays away – the last error after all attempts', async () => {
  const { driver, faulty, pauses } = setUp({
    calls: [{ on: 'any', nth: 1, times: 100, error: 'STORAGE_IO' }],
  });
  await assert.rejects(driver.get('x'), hasCode('STORAGE_IO'));
  assert.equal(faulty.counts.calls, 4);
  assert.equal(pauses.length, 3);
});

for (const code of [
  'STORAGE_FULL',
  'STORAGE_DENIED',
  'STORAGE_NOT_FOUND',
  'STORAGE_SHORT_READ',
  'INTERNAL',
] as const) {
  test(`${code} – is not tried again`, async () => {
    const { driver, faulty } = setUp({ calls: [{ on: 'any', nth: 1, error: code }] });
    await assert.rejects(driver.put('x', [], once), hasCode(code));
    assert.equal(faulty.counts.calls, 1);
  });
}

test('a put whose answer got lost – succeeds, since the object there has our bytes', async () => {
  const { driver, store } = setUp({
    calls: [{ on: 'put', nth: 1, error: 'STORAGE_UNAVAILABLE', errorWhen: 'after' }],
  });
  const bytes = patterned(9 << 20, 1);
  await driver.put('x', pieces(bytes, 3_000_001), once);
  await driver.put('empty', [], once);
  assert.equal(Buffer.compare(await store.get('x'), bytes), 0);
});

test('an empty put whose answer got lost – succeeds', async () => {
  const { driver, store } = setUp({
    calls: [{ on: 'put', nth: 1, error: 'STORAGE_UNAVAILABLE', errorWhen: 'after' }],
  });
  await driver.put('empty', [], once);
  assert.equal((await store.head('empty'))?.size, 0);
});

for (const [what, theirs] of [
  ['of the same size', Buffer.from('their')],
  ['of another size', Buffer.from('other bytes')],
] as const) {
  test(`a put that failed, while another stored other bytes ${what} – STORAGE_EXISTS`, async () => {
    const { driver, store } = setUp({ calls: [{ on: 'put', nth: 1, error: 'STORAGE_UNAVAILABLE' }] });
    await store.put('x', [theirs], once);
    await assert.rejects(driver.put('x', [text('ours!')], once), hasCode('STORAGE_EXISTS'));
    assert.deepEqual(Buffer.from(await store.get('x')), theirs);
  });
}

test('a first put on an existing object with the same bytes – STORAGE_EXISTS: nothing was lost on the way', async () => {
  const { driver, store } = setUp({});
  await store.put('x', [text('same')], once);
  await assert.rejects(driver.put('x', [text('same')], once), hasCode('STORAGE_EXISTS'));
});

test('a list that breaks twenty times, but moves on – yields every object once, in order', async () => {
  const store = openMemoryDriver();
  const names = Array.from({ length: 20 }, (_, n) => `o/${String(n).padStart(2, '0')}`);
  for (const name of names) await store.put(name, [], once);
  let lists = 0;
  const breaking: StorageDriver = {
    ...withFaults(store, {}),
    async *list(prefix) {
      let left = ++lists;
      for await (const object of store.list(prefix)) {
        if (left-- === 0) throw new HelvinoError('STORAGE_UNAVAILABLE', 'broken off');
        yield object;
      }
    },
  };
  const clock: Clock = { now: () => new Date(0), monotonic: () => 0, sleep: async () => undefined };
  assert.deepEqual(await namesOf(withRetry(breaking, { attempts: 2, baseMs: 1, clock }), 'o/'), names);
  assert.equal(lists, 20);
});

test('a list that breaks at the same place each time – its error after all attempts', async () => {
  const { driver, store, faulty } = setUp({
    calls: [{ on: 'list', nth: 1, times: 100, error: 'STORAGE_UNAVAILABLE', errorWhen: 'after' }],
  });
  await store.put('x', [], once);
  await assert.rejects(namesOf(driver, ''), hasCode('STORAGE_UNAVAILABLE'));
  assert.ok(faulty.counts.calls >= 4);
});
