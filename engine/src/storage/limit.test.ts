import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { openMemoryDriver, type StorageDriver, withLimit } from './index.ts';
import { namesOf, text } from './testing/contract-tools.ts';
import { withFaults } from './testing/faulty-driver.ts';

const once = { ifAbsent: true };

/** A store whose data calls wait until they are let go. */
function slowStore() {
  const store = openMemoryDriver();
  let most = 0;
  let inside = 0;
  let letGo: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const driver: StorageDriver = {
    ...withFaults(store, {}),
    async put(name, body, how) {
      most = Math.max(most, ++inside);
      if (!name.startsWith('leases/')) await gate;
      await store.put(name, body, how);
      inside--;
    },
  };
  return { driver, letGo: () => letGo(), most: () => most };
}

test('twenty puts, three at a time – never more, all done', async () => {
  const { driver, letGo, most } = slowStore();
  const limited = withLimit(driver, { concurrency: 3 });
  const puts = Array.from({ length: 20 }, (_, n) => limited.put(`p/${n}`, [text('x')], once));
  await turn();
  assert.equal(most(), 3);
  letGo();
  await Promise.all(puts);
  assert.equal(most(), 3);
  assert.equal((await namesOf(limited, 'p/')).length, 20);
});

test('all places taken by data – leases and the clock do not wait, other calls do', async () => {
  const { driver, letGo } = slowStore();
  const limited = withLimit(driver, { concurrency: 1 });
  const put = limited.put('data', [text('x')], once);
  await limited.now();
  await limited.put('leases/run/1', [text('alive')], once);
  await limited.put('leases/run/2', [text('alive')], once);
  await limited.remove('leases/run/1');
  assert.deepEqual(await namesOf(limited, 'leases/'), ['leases/run/2']);
  let answered = false;
  const head = limited.head('data').then(() => {
    answered = true;
  });
  await turn();
  assert.equal(answered, false);
  letGo();
  await Promise.all([put, head]);
});

test('calls between the objects of a list, one place – no deadlock', async () => {
  const limited = withLimit(openMemoryDriver(), { concurrency: 1 });
  for (const name of ['a', 'b', 'c']) await limited.put(name, [], once);
  for await (const { name } of limited.list('')) await limited.remove(name);
  assert.deepEqual(await namesOf(limited, ''), []);
});
