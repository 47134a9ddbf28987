import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HelvinoError } from '../base/errors.ts';
import { readControlFile } from './control-file.ts';

test('any bytes – a HelvinoError with code PROTOCOL, nothing else', () => {
  const version = fc.constantFrom(0, 1201, 1300, 1700, 1800, 1900);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), version, (bytes, number) => {
      if (bytes.length >= 12) new DataView(bytes.buffer, bytes.byteOffset).setUint32(8, number, true);
      assert.throws(
        () => readControlFile(bytes),
        (thrown) => thrown instanceof HelvinoError && thrown.code === 'PROTOCOL',
      );
    }),
  );
});
