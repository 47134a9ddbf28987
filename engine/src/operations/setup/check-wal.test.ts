import assert from 'node:assert/strict';
import { test } from 'node:test';
import { standbyNames } from './check-wal.ts';

for (const [setting, names] of [
  ['', []],
  ['helvino_main', ['helvino_main']],
  ['a, "Helvino ""x"", y"', ['a', 'helvino "x", y']],
  ['FIRST 2 (a, helvino_main)', ['a', 'helvino_main']],
  ['ANY 1 (*)', ['*']],
  ['2 (first, any)', ['first', 'any']],
] as const) {
  test(`synchronous_standby_names = ${setting} – the names in it`, () => {
    assert.deepEqual([...standbyNames(setting)], names);
  });
}
