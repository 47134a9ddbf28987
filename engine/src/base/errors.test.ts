import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asHelvinoError, HelvinoError, targetCode } from './errors.ts';

test('what a server answered – SERVER_ERROR with its SQLSTATE, not a bug of ours', () => {
  const message = 'canceling statement due to statement timeout';
  const thrown = Object.assign(new Error(message), { code: '57014', severity: 'ERROR' });
  const error = asHelvinoError(thrown);
  assert.deepEqual([error.code, error.message, error.context.sqlstate], ['SERVER_ERROR', message, '57014']);
});

test('anything else – INTERNAL, also with a system code of five letters; ours pass through', () => {
  const broken = Object.assign(new Error('write EPIPE'), { code: 'EPIPE' });
  for (const thrown of [broken, new TypeError('x is not a function'), 'a word', undefined])
    assert.equal(asHelvinoError(thrown).code, 'INTERNAL');
  const ours = new HelvinoError('USAGE', 'no such verb');
  assert.equal(asHelvinoError(ours), ours);
});

test('a system error while writing for the user – no rights, no room, or anything else', () => {
  const codes = ['EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'EDQUOT', 'EIO', undefined].map((code) =>
    targetCode(Object.assign(new Error('no'), { code })),
  );
  const denied = ['TARGET_DENIED', 'TARGET_DENIED', 'TARGET_DENIED'];
  assert.deepEqual(codes, [...denied, 'TARGET_TOO_SMALL', 'TARGET_TOO_SMALL', 'TARGET_IO', 'TARGET_IO']);
});
