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
  assert.equal((await LogPieces.read(driver, 'other')).length, 0);
});
