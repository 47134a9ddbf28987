import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { checkStream } from '../../../test/stream-check.ts';

const mebi = 1 << 20;

/** Bytes that do not repeat at any boundary. */
function pattern(length: number): Buffer {
  const out = Buffer.alloc(length);
  for (let at = 0, n = 0; at < length; at += 32, n++)
    createHash('sha256').update(String(n)).digest().copy(out, at);
  return out;
}

for (const length of [0, 1, mebi - 1, mebi, mebi + 1, 3 * mebi + 12_345]) {
  test(`a stream of ${length} bytes, written in odd pieces – the same bytes come back`, async () => {
    const bytes = pattern(length);
    const stored = await checkStream(async function* () {
      for (let at = 0; at < length; at += 77_777) yield bytes.subarray(at, at + 77_777);
    });
    assert.deepEqual(stored.content, bytes);
    assert.deepEqual(stored.paths, ['the stream/000000']);
  });
}

test('two streams and one whose name begins alike – kept apart', async () => {
  const one = await checkStream(
    async function* () {
      yield Buffer.from('one');
    },
    ['the stream', 'the stream/other'],
  );
  assert.equal(one.content.toString(), 'one');
});
