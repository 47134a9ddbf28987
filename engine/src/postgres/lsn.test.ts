import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HelvinoError } from '../base/errors.ts';
import { formatLsn, parseLsn, timelineHistoryName, walFileName } from './lsn.ts';

test('positions – read and written as PostgreSQL does', () => {
  assert.equal(parseLsn('16/B374D848'), 0x16b374d848n);
  assert.equal(parseLsn('0/0'), 0n);
  assert.equal(formatLsn(0x16b374d848n), '16/B374D848');
  assert.equal(formatLsn(0x2000028n), '0/2000028');
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (lsn) =>
      assert.equal(parseLsn(formatLsn(lsn)), lsn),
    ),
  );
});

test('anything else – PROTOCOL', () => {
  for (const text of ['', '0', '0/', '/0', '0/123456789', 'g/0', '0/0 ', '-1/0']) {
    assert.throws(
      () => parseLsn(text),
      (thrown) => thrown instanceof HelvinoError && thrown.code === 'PROTOCOL',
    );
  }
});

test('names of WAL files – as pg_walfile_name gives them', () => {
  const mib = 1 << 20;
  assert.equal(walFileName(1, parseLsn('0/2000028'), 16 * mib), '000000010000000000000002');
  assert.equal(walFileName(1, parseLsn('0/1FFFFFF'), 16 * mib), '000000010000000000000001');
  assert.equal(walFileName(31, parseLsn('16/B374D848'), 16 * mib), '0000001F00000016000000B3');
  assert.equal(walFileName(1, parseLsn('1/0'), 16 * mib), '000000010000000100000000');
  assert.equal(walFileName(2, parseLsn('A/C0000000'), 1024 * mib), '000000020000000A00000003');
  assert.equal(walFileName(1, parseLsn('0/2000028'), mib), '000000010000000000000020');
  assert.equal(timelineHistoryName(26), '0000001A.history');
});
