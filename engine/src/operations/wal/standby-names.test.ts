import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isSynchronous, standbyNames } from './standby-names.ts';

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

for (const [setting, name, waits] of [
  ['', 'helvino', false],
  ['FIRST 1 (other, Helvino)', 'helvino', true],
  ['ANY 1 (other)', 'helvino', false],
  ['*', 'helvino', true],
] as const) {
  test(`synchronous_standby_names = ${setting} – ${waits ? 'commits may wait' : 'no commit waits'} for ${name}`, () => {
    assert.equal(isSynchronous(setting, name), waits);
  });
}
