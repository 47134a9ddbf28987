import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { throughRepository } from '../../../test/stream-check.ts';

const mebi = 1 << 20;
const blocks = 2500;

/** Compresses to almost nothing, and no two blocks are equal. */
function block(number: number): Buffer {
  const bytes = Buffer.alloc(mebi, number % 251);
  bytes.writeUInt32BE(number, 0);
  return bytes;
}

test('a stream of 2.4 GiB – three parts, the same bytes, memory that does not grow with it', async () => {
  const wanted = createHash('sha256');
  const got = createHash('sha256');
  let peak = 0;
  const paths = await throughRepository(
    async function* () {
      for (let number = 0; number < blocks; number++) {
        const bytes = block(number);
        wanted.update(bytes);
        peak = Math.max(peak, process.memoryUsage.rss());
        yield bytes;
      }
    },
    {
      names: ['big'],
      onPiece: (bytes) => {
        got.update(bytes);
        peak = Math.max(peak, process.memoryUsage.rss());
      },
    },
  );
  assert.deepEqual(paths, ['big/000000', 'big/000001', 'big/000002']);
  assert.equal(got.digest('hex'), wanted.digest('hex'));
  assert.ok(peak < 900 * mebi, `${Math.round(peak / mebi)} MiB`);
});
