import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Daily, removes, settings } from '../../../test/daily-backups.ts';
import { HelvinoError } from '../../base/errors.ts';
import type { Repository } from '../../repository/index.ts';
import { openMemoryDriver } from '../../storage/index.ts';
import { planRetentionOf } from './plan.ts';

const inTwo = settings('{ keep: { last: 2 }, minimum: 2, minimumCopies: 2, pitr: 3d }');

async function copyOf({ memory }: Daily): Promise<Repository> {
  const { driver, repository, clock } = memory;
  const other = openMemoryDriver({ clock });
  for await (const { name } of driver.list(''))
    await other.put(name, [await driver.get(name)], { ifAbsent: true });
  return repository.on(other);
}

test('two copies are wanted – nothing goes until the newest good ones are whole in both', async () => {
  const daily = await Daily.of(8);
  const copy = await copyOf(daily);
  const plan = (...others: Repository[]) =>
    planRetentionOf(
      daily.memory.repository,
      'db',
      inTwo,
      others.map((one, n) => ({ name: `copy${n}`, open: async () => one })),
    );
  assert.deepEqual(removes(await plan(copy), daily), [0, 1, 2, 3, 5]);

  const alone = await plan();
  assert.deepEqual([removes(alone, daily), alone.log.remove.length], [[], 0]);
  assert.match(
    alone.kinds[0]!.trouble.join(),
    /whole in 1 copy, retention.minimumCopies is 2: there are no more/,
  );

  const [pack] = (await daily.memory.repository.manifest('db', daily.ids[7]!)).packs;
  const name = `packs/${pack!.id.slice(0, 2)}/${pack!.id}`;
  const bytes = await copy.driver.get(name);
  await copy.driver.remove(name);
  const lacking = await plan(copy);
  assert.deepEqual(removes(lacking, daily), []);
  assert.match(lacking.kinds[0]!.trouble.join(), /copy0 lacks 1 object of/);
  await copy.driver.put(name, [bytes], { ifAbsent: true });

  daily.memory.clock.advance(60_000);
  await daily.add();
  const behind = await plan(copy);
  assert.deepEqual(removes(behind, daily), []);
  assert.match(behind.kinds[0]!.trouble.join(), new RegExp(`copy0 lacks ${daily.ids[8]}`));
  assert.notDeepEqual(removes(await plan(copy, await copyOf(daily)), daily), []);
});

test('a copy that cannot be reached – does not count, and the plan says why', async () => {
  const daily = await Daily.of(8);
  const away = () => Promise.reject(new HelvinoError('STORAGE_UNAVAILABLE', 'the store does not answer'));
  const plan = await planRetentionOf(daily.memory.repository, 'db', inTwo, [{ name: 'far', open: away }]);
  assert.deepEqual(removes(plan, daily), []);
  assert.match(plan.kinds[0]!.trouble.join(), /far cannot be looked at: the store does not answer/);
});
