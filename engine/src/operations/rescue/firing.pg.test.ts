/** Applying while foreign keys and triggers act, as for a role that cannot turn them off. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestServer } from '../../../test/pg-server.ts';
import { rescueCase } from './testing/rescue-case.ts';
import { makeLab, same } from './testing/rescue-lab.ts';

test('rows to remove that others refer to since the plan – ON DELETE CASCADE and SET NULL do nothing to rows that nobody named', async () => {
  await using server = await startTestServer({ templates: true, major: 18 });
  await using lab = await makeLab(server);
  const live = await lab.client('live');
  await live.query(`insert into conversations values (900, 2, 'made by accident'); insert into users values ('00000000-0000-0000-0000-000000000900', 2, 'x');
    insert into messages (conversation, n, body) values (900, 1, 'of it')`);
  const root = { table: 'organizations', where: { id: '2' } };
  const all = { insert: true, revert: true, remove: true };
  const policies = { all, onConflict: 'stop', onSchemaChange: 'stop' } as const;
  const first = await lab.plan({ root, policies });
  for (const more of [
    `insert into messages (conversation, n, body) values (900, 2, 'someone else wrote this')`,
    `insert into messages (conversation, n, author, body) values (1, 77, '00000000-0000-0000-0000-000000000900', 'and this')`,
  ]) {
    await live.query(`begin; delete from messages where n = 2 and conversation = 900; ${more}; commit`);
    const before = await lab.content('live');
    await assert.rejects(lab.apply(first.file, { triggers: 'fire' }), {
      code: 'PLAN_CHANGED',
      message: /would go/,
    });
    same(await lab.content('live'), before);
  }
  await live.query(`delete from messages where n = 77`);
  const audit = () =>
    live.query('select count(*)::int as n from audit').then(({ rows }) => rows[0].n as number);
  const heard = await audit();
  const applied = await lab.apply(first.file, { triggers: 'fire' });
  assert.deepEqual(applied.tables.map(({ removed }) => removed).sort(), [1, 1, 1]);
  assert.equal(await audit(), heard + 1);
});

test('random accidents without triggers, foreign keys acting – apply brings back what the oracle says, undo takes it back', async (t) => {
  await using server = await startTestServer({ templates: true, major: 18, config: { fsync: 'off' } });
  for (const seed of [2, 18]) {
    t.diagnostic(`seed ${seed}`);
    const { outcome } = await rescueCase({ url: server.url, major: 18, seed, fire: true });
    assert.equal(outcome, 'applied');
  }
});
