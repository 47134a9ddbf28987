import assert from 'node:assert/strict';
import { test } from 'node:test';
import { recoveryEnd, verdictOf } from './report.ts';

const check = (state: 'passed' | 'failed' | 'unproven') => ({ name: 'x', state, detail: '', seconds: 0 });

test('verdict – proven only when every check passed, and never of nothing', () => {
  assert.equal(verdictOf([check('passed'), check('passed')]), 'proven');
  assert.equal(verdictOf([check('passed'), check('unproven')]), 'partly proven');
  assert.equal(verdictOf([check('unproven'), check('failed')]), 'failed');
  assert.equal(verdictOf([]), 'partly proven');
});

test('recovery end – the last switch of the history; unknown without one', () => {
  assert.equal(recoveryEnd('1\t0/3000000\tno recovery target specified\n'), '0/3000000');
  assert.equal(recoveryEnd('1\t0/3000000\tx\n\n# a comment 9 9\n2\t1/AB\tbefore 1 2\n'), '1/AB');
  assert.equal(recoveryEnd(''), undefined);
});
