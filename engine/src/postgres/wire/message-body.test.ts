import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HelvinoError } from '../../base/errors.ts';
import { readColumnNames, readRow, readServerMessage } from './message-body.ts';
import { serverError } from './server-error.ts';

test('an error – all fields, severity untranslated', () => {
  const bytes = Buffer.from('SFEHLER\0VERROR\0C28P01\0Mno\0Dmore\0Hdo this\0Fx.c\0L12\0\0');
  const fields = { severity: 'ERROR', code: '28P01', message: 'no', detail: 'more', hint: 'do this' };
  assert.deepEqual(readServerMessage(bytes), fields);
});

test('rows – names, values and nulls', () => {
  const names = Buffer.concat([
    Buffer.from([0, 2]),
    Buffer.from('a\0'),
    Buffer.alloc(18),
    Buffer.from('b c\0'),
    Buffer.alloc(18),
  ]);
  assert.deepEqual(readColumnNames(names), ['a', 'b c']);
  const row = Buffer.concat([
    Buffer.from([0, 3, 0, 0, 0, 2]),
    Buffer.from('xy'),
    Buffer.from([255, 255, 255, 255, 0, 0, 0, 0]),
  ]);
  assert.deepEqual(readRow(row), [Buffer.from('xy'), null, Buffer.alloc(0)]);
});

test('garbage – never anything but HelvinoError PROTOCOL', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
      for (const read of [readServerMessage, readColumnNames, readRow]) {
        try {
          read(bytes);
        } catch (thrown) {
          assert.ok(thrown instanceof HelvinoError && thrown.code === 'PROTOCOL', String(thrown));
        }
      }
    }),
    { numRuns: 500 },
  );
});

test('SQLSTATEs – become our codes, and stay in the context', () => {
  const report = (code: string, message = 'm') => serverError({ severity: 'ERROR', code, message }, 'u');
  const codes = ['28P01', '42501', '57P01', '57P03', 'XX001', '55000'].map((state) => report(state).code);
  assert.deepEqual(codes, [
    'SERVER_AUTH',
    'SERVER_AUTH',
    'SERVER_GONE',
    'SERVER_UNREACHABLE',
    'SERVER_CORRUPT',
    'SERVER_ERROR',
  ]);
  assert.deepEqual(report('55000', 'not now').context, {
    sqlstate: '55000',
    severity: 'ERROR',
    detail: undefined,
  });
});

test('refusals by pg_hba.conf – the hint is a line that would help', () => {
  const hint = (message: string) =>
    serverError({ severity: 'FATAL', code: '28000', message }, 'u').hint ?? '';
  const entry = 'no pg_hba.conf entry for';
  assert.match(
    hint(`${entry} replication connection from host "10.0.0.7", user "b k", no encryption`),
    /: host replication "b k" 10\.0\.0\.7\/32 scram/,
  );
  assert.match(
    hint(`${entry} host "fe80::1", user "u", database "shop", SSL encryption`),
    /: hostssl shop "u" fe80::1\/128 scram/,
  );
  assert.match(
    hint(`${entry} host "[local]", user "u", database "shop", no encryption`),
    /: local shop "u" scram/,
  );
  assert.match(hint('role "u" does not exist'), /check that role "u" exists/);
});
