import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseOwnJson } from './own-json.ts';

test('JSON that was written here – read back, whatever is in it', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), fc.constantFrom(0, 2), (value, indent) => {
      const text = JSON.stringify(value, null, indent);
      assert.equal(JSON.stringify(parseOwnJson(Buffer.from(text), indent)), JSON.stringify(value));
    }),
  );
});

test('JSON that was not – refused: bytes that are no UTF-8, keys twice, other spellings, endless nesting', () => {
  const bad = [
    '',
    ' 1',
    '1 ',
    '{"a":1,"a":2}',
    '"\\u0061"',
    '1.0',
    '1e1',
    '-0',
    '\uFEFF1',
    "{'a':1}",
    '[1,]',
    'NaN',
    '"a',
  ];
  for (const text of [...bad, '['.repeat(100), `${'[['.repeat(20)}${']]'.repeat(20)}`])
    assert.throws(() => parseOwnJson(Buffer.from(text)), Error, text);
  assert.throws(() => parseOwnJson(Buffer.from([0x22, 0xff, 0x22])), Error);
  // Brackets in a string are none.
  assert.equal(parseOwnJson(Buffer.from(JSON.stringify('[{'.repeat(100)))), '[{'.repeat(100));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 50 }), (bytes) => {
      try {
        parseOwnJson(bytes);
      } catch (thrown) {
        assert.ok(thrown instanceof Error);
      }
    }),
  );
});
