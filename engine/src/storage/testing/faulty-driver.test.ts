import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openMemoryDriver } from '../index.ts';
import { hasCode, text } from './contract-tools.ts';
import { type FaultPlan, faultPlanFromEnv, faultPlanToEnv, withFaults } from './faulty-driver.ts';
import { runStorageChild } from './run-storage-child.ts';
import { inFolder } from './temporary-folder.ts';

const once = { ifAbsent: true };

test('faults by number, kind and prefix – hit exactly the calls that they name', async () => {
  const plan: FaultPlan = {
    calls: [
      { on: 'put', prefix: 'packs/', nth: 2, error: 'STORAGE_FULL' },
      { on: 'write', nth: 4, times: 2, error: 'STORAGE_IO' },
    ],
  };
  const driver = withFaults(openMemoryDriver(), plan);
  await driver.put('packs/1', [], once);
  await driver.put('other', [], once);
  await assert.rejects(driver.put('packs/2', [], once), hasCode('STORAGE_FULL'));
  await assert.rejects(driver.remove('other'), hasCode('STORAGE_IO'));
  await driver.head('other');
  await assert.rejects(driver.put('packs/3', [], once), hasCode('STORAGE_IO'));
  await driver.put('packs/3', [], once);
  assert.deepEqual(driver.counts, { calls: 7, writes: 6 });
});

test("lies – a get that is cut or has a flipped bit, a put that stores one, the caller's bytes stay good", async () => {
  const store = openMemoryDriver();
  const lying = withFaults(store, {
    calls: [
      { on: 'get', nth: 1, cutBytes: 2 },
      { on: 'get', nth: 2, flipBit: 9 },
      { on: 'put', nth: 1, flipBit: 0 },
    ],
  });
  const body = text('abcd');
  await lying.put('x', [body], once);
  assert.equal(Buffer.from(body).toString(), 'abcd');
  assert.equal(Buffer.from(await store.get('x')).toString(), '`bcd');
  assert.equal(Buffer.from(await lying.get('x')).toString(), '`b');
  assert.equal(Buffer.from(await lying.get('x')).toString(), '``cd');
  assert.equal(Buffer.from(await lying.get('x')).toString(), '`bcd');
});

for (const [kill, expected] of [
  ['before', undefined],
  ['after', 7],
] as const) {
  test(`killed ${kill} the second write – the first is stored, the second ${expected ? 'as well' : 'is not'}`, () =>
    inFolder(async (root) => {
      const steps = [
        ['put', 'one', 'content'],
        ['get', 'one'],
        ['put', 'two', 'content'],
      ] as const;
      const result = await runStorageChild({ root, steps, plan: { calls: [{ on: 'write', nth: 2, kill }] } });
      assert.equal(result.signal, 'SIGKILL');
      const { outcomes } = await runStorageChild({
        root,
        steps: [
          ['get', 'one'],
          ['get', 'two'],
        ],
      });
      assert.deepEqual(outcomes, ['content', expected ? 'content' : 'STORAGE_NOT_FOUND']);
    }));
}

test('a plan in an environment – comes out as it went in; none is undefined; a malformed one is refused', () => {
  const plan: FaultPlan = {
    calls: [{ on: 'any', nth: 3, kill: 'after' }],
    points: [{ nth: 1, errno: 'EIO' }],
  };
  assert.deepEqual(faultPlanFromEnv(faultPlanToEnv(plan)), plan);
  assert.equal(faultPlanFromEnv({}), undefined);
  assert.throws(() => faultPlanFromEnv(faultPlanToEnv({ points: [{ nth: 0 }] })), RangeError);
  assert.throws(
    () => faultPlanFromEnv(faultPlanToEnv({ calls: [{ on: 'any', nth: 1, error: 'NONE' as never }] })),
    RangeError,
  );
});
