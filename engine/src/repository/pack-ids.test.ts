import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { memoryRepository } from '../../test/repository-fixture.ts';
import { LogPieces } from './log-pieces.ts';
import { type LogPiece, listLog, logPieceName } from './log-store.ts';
import { PackIds } from './pack-ids.ts';

test('pack ids – numbered as they come, found again, told apart also where their beginnings are alike', () => {
  const ids = Array.from({ length: 5000 }, (_, n) =>
    n % 3 === 0 ? `${'0'.repeat(24)}${n.toString(16).padStart(8, '0')}` : randomBytes(16).toString('hex'),
  );
  const set = new PackIds();
  for (const [number, id] of ids.entries()) {
    assert.equal(set.has(id), false);
    assert.equal(set.numberOf(id), number);
  }
  for (const [number, id] of ids.entries()) {
    assert.equal(set.numberOf(id), number);
    assert.equal(set.has(id), true);
    assert.equal(set.idOf(number), id);
  }
  assert.equal(set.has('f'.repeat(32)), false);
});

test('pieces of a log – as they are listed, also when there are more than there was room for', async () => {
  const { driver } = await memoryRepository();
  for (let n = 0; n < 3000; n++) {
    const place = { line: 1 + (n % 2), begin: BigInt(n) << 40n, end: (BigInt(n) << 40n) + 1n };
    await driver.put(logPieceName('db', place), [Buffer.alloc(n % 7)], { ifAbsent: true });
  }
  const listed: LogPiece[] = [];
  for await (const piece of listLog(driver, 'db')) listed.push(piece);
  const pieces = await LogPieces.read(driver, 'db');
  assert.deepEqual([...pieces], listed);
  assert.deepEqual([pieces.length, pieces.lines], [3000, [1, 2]]);
  assert.deepEqual([...pieces.reversed()], listed.toReversed());
  const some = pieces.select(({ begin, size }) => begin > 1000n << 40n && size > 2);
  const wanted = listed.filter(({ begin, size }) => begin > 1000n << 40n && size > 2);
  assert.deepEqual([[...some], some.length], [wanted, wanted.length]);
  assert.deepEqual([...some.reversed()], wanted.toReversed());
  assert.deepEqual(
    [...some.select(({ line }) => line === 2)],
    wanted.filter(({ line }) => line === 2),
  );
  assert.equal((await LogPieces.read(driver, 'other')).length, 0);
});

test('more pieces than a block holds, one after the other, apart, and overlapping – as they are listed', async () => {
  const { driver } = await memoryRepository();
  const listed: LogPiece[] = [];
  const stored = new Date(1_000);
  let begin = 7n;
  for (let n = 0; n < 40_000; n++) {
    begin += BigInt([16 << 20, 16 << 20, 5, 0][n % 4]!) + (n % 9000 === 8999 ? 5n << 32n : 0n);
    const place = { line: 1, begin, end: begin + BigInt(n % 4 === 3 ? 1 << 30 : 16 << 20) };
    listed.push({ ...place, name: logPieceName('db', place), size: n, stored });
  }
  const listing = {
    ...driver,
    async *list() {
      for (const { name, size } of listed) yield { name, size, modified: stored };
      yield { name: 'wal/db/00000001/0000000000000009-0000000000000009', size: 1, modified: stored };
      yield { name: 'wal/db/00000001/0000000000000009-0000000100000009', size: 1, modified: stored };
    },
  };
  const pieces = await LogPieces.read(listing, 'db');
  assert.deepEqual([...pieces], listed);
  assert.deepEqual([...pieces.reversed()], listed.toReversed());
});
