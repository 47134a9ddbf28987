import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { mapParallel } from './ordered-parallel.ts';

async function turns(count: number): Promise<void> {
  for (let n = 0; n < count; n++) await turn();
}

async function* slowly<Item>(items: readonly Item[], wait: number): AsyncGenerator<Item> {
  for (const item of items) {
    await turns(wait);
    yield item;
  }
}

test('any durations, any concurrency, fast or slow source – results in order, never more at once than allowed', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(5), { maxLength: 30 }),
      fc.integer({ min: 1, max: 8 }),
      fc.option(fc.nat(3), { nil: undefined }),
      async (durations, concurrency, wait) => {
        let running = 0;
        let most = 0;
        const results: [number, number][] = [];
        const source = wait === undefined ? durations : slowly(durations, wait);
        for await (const result of mapParallel(source, concurrency, async (duration, index) => {
          most = Math.max(most, ++running);
          await turns(duration);
          running--;
          return [index, duration] as [number, number];
        })) {
          results.push(result);
        }
        assert.deepEqual(
          results,
          durations.map((duration, index) => [index, duration]),
        );
        assert.ok(most <= concurrency);
        if (
          wait === undefined &&
          durations.length >= concurrency &&
          durations.every((duration) => duration > 0)
        ) {
          assert.equal(most, concurrency, 'the concurrency that was asked for is used');
        }
      },
    ),
    { numRuns: 60 },
  );
});

test('a consumer that does not read on – no more than the concurrency is taken from the source', async () => {
  let taken = 0;
  function* source() {
    for (;;) yield taken++;
  }
  const results = mapParallel(source(), 4, (item) => item);
  await results.next();
  await turns(20);
  assert.ok(taken <= 5, `${taken} taken`);
  await results.return();
});

test('a source that waits for the consumer – the results so far are handed on meanwhile', async () => {
  let consumed: () => void = () => undefined;
  const waiting = new Promise<void>((resolve) => {
    consumed = resolve;
  });
  async function* source() {
    yield 1;
    await waiting;
    yield 2;
  }
  const results: number[] = [];
  for await (const result of mapParallel(source(), 4, (item) => item)) {
    results.push(result);
    consumed();
  }
  assert.deepEqual(results, [1, 2]);
});

test('one item fails – results before it come first, nothing new starts, what runs is waited for', async () => {
  const started: number[] = [];
  let running = 0;
  const results: number[] = [];
  await assert.rejects(async () => {
    for await (const result of mapParallel([0, 1, 2, 3, 4, 5, 6, 7], 3, async (item) => {
      started.push(item);
      running++;
      await turns(item === 1 ? 3 : 9);
      running--;
      if (item === 1) throw new Error('item 1');
      return item;
    })) {
      results.push(result);
    }
  }, /item 1/);
  assert.deepEqual(results, [0]);
  assert.deepEqual(started, [0, 1, 2]);
  assert.equal(running, 0);
});

test('the source fails – the results before come first, then its error', async () => {
  async function* source() {
    yield 1;
    yield 2;
    throw new Error('source');
  }
  const results: number[] = [];
  await assert.rejects(async () => {
    for await (const result of mapParallel(source(), 8, (item) => item)) results.push(result);
  }, /source/);
  assert.deepEqual(results, [1, 2]);
});

test('the consumer stops early – the source is told, what runs is waited for', async () => {
  let stopped = false;
  let running = 0;
  function* source() {
    try {
      for (let n = 0; ; n++) yield n;
    } finally {
      stopped = true;
    }
  }
  for await (const result of mapParallel(source(), 3, async (item) => {
    running++;
    await turns(item);
    running--;
    return item;
  })) {
    if (result === 5) break;
  }
  assert.equal(stopped, true);
  assert.equal(running, 0);
});

test('an ordinary iterator that throws – its error comes out, after the results before it', async () => {
  for (const before of [0, 1, 3]) {
    const items = function* () {
      for (let i = 0; i < before; i++) yield i;
      throw new Error('broken');
    };
    const results: number[] = [];
    await assert.rejects(async () => {
      for await (const result of mapParallel(items(), 2, (item) => item)) results.push(result);
    }, /broken/);
    assert.equal(results.length, before);
  }
});

test('a concurrency of none – refused', async () => {
  await assert.rejects(mapParallel([1], 0, (item) => item).next(), RangeError);
});
