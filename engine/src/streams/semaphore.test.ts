import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Semaphore } from './semaphore.ts';

test('ten workers, three permits – never more than three at once, all are served in order', async () => {
  const semaphore = new Semaphore(3);
  let inside = 0;
  let most = 0;
  const served: number[] = [];
  await Promise.all(
    Array.from({ length: 10 }, (_, n) =>
      semaphore.run(async () => {
        served.push(n);
        most = Math.max(most, ++inside);
        await turn();
        inside--;
      }),
    ),
  );
  assert.equal(most, 3);
  assert.deepEqual(served, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test('a permit released twice – counts once', async () => {
  const semaphore = new Semaphore(1);
  const release = await semaphore.acquire();
  release();
  release();
  await semaphore.acquire();
  let second = false;
  void semaphore.acquire().then(() => {
    second = true;
  });
  await turn();
  assert.equal(second, false);
});

test('a permit released while someone waits – goes to the waiting one, not to a newcomer', async () => {
  const semaphore = new Semaphore(1);
  const order: string[] = [];
  const release = await semaphore.acquire();
  const waiting = semaphore.acquire().then((next) => {
    order.push('waiting');
    next();
  });
  release();
  const newcomer = semaphore.acquire().then(() => order.push('newcomer'));
  await Promise.all([waiting, newcomer]);
  assert.deepEqual(order, ['waiting', 'newcomer']);
});

test('work that throws – its error comes out and its permit goes back', async () => {
  const semaphore = new Semaphore(1);
  await assert.rejects(
    semaphore.run(() => {
      throw new Error('broken');
    }),
    /broken/,
  );
  assert.equal(await semaphore.run(() => 7), 7);
});

test('no permits, or a part of one – refused', () => {
  for (const permits of [0, -1, 1.5, Number.NaN]) assert.throws(() => new Semaphore(permits), RangeError);
});
