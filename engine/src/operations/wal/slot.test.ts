import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HelvinoError } from '../../base/errors.ts';
import { claimName, defaultSlot, slotLoss } from './slot.ts';

test('the name that a stream claims – the slot with a suffix; long names that begin alike have different ones', () => {
  assert.equal(claimName('helvino_main'), 'helvino_main_reader');
  const long = ['a', 'b'].map((end) => `${'x'.repeat(62)}${end}`);
  const names = [...long, 'x'.repeat(56), 'x'.repeat(57)].map(claimName);
  assert.equal(new Set(names).size, names.length);
  for (const name of names) assert.match(name, /^[a-z0-9_]{1,63}$/);
});

test('the slot of a database – its name, if that fits; of a long one the start and a hash, never more than the server keeps', () => {
  assert.equal(defaultSlot('my-shop.eu'), 'helvino_my_shop_eu');
  assert.equal(
    defaultSlot('d'.repeat(55)),
    `helvino_${'d'.repeat(55)}`,
    'a slot that was made keeps its name',
  );
  // The longest that helvino.yaml takes.
  const long = ['d'.repeat(56), 'd'.repeat(63), `${'d'.repeat(61)}-e`, `${'d'.repeat(61)}.e`].map(
    defaultSlot,
  );
  const names = [...long, ...long.map(claimName)];
  assert.equal(new Set(names).size, names.length);
  for (const name of names) assert.match(name, /^helvino_d[a-z0-9_]{54}$/);
});

test('what a stream throws when its slot is no longer what it was – SLOT_LOST; all else stays', () => {
  const error = (sqlstate: string) => new HelvinoError('SERVER_ERROR', 'refused', { context: { sqlstate } });
  for (const sqlstate of ['42704', '55000', '58P01']) {
    const lost = slotLoss(error(sqlstate), 'helvino');
    assert.ok(lost instanceof HelvinoError && lost.code === 'SLOT_LOST' && lost.retry, sqlstate);
    assert.equal(lost.context.sqlstate, sqlstate);
  }
  for (const other of [error('XX000'), new HelvinoError('SERVER_GONE', 'gone'), new TypeError('ours')])
    assert.equal(slotLoss(other, 'helvino'), other);
});
