import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { memoryRepository } from '../../test/repository-fixture.ts';
import { HelvinoError } from '../base/errors.ts';
import { catalogRing } from './keys.ts';
import { LogSealer } from './log-sealer.ts';
import {
  checkLogPiece,
  logFiles,
  logPieceKeyId,
  logPieceName,
  putLogFile,
  putLogPiece,
} from './log-store.ts';
import { PieceOpener } from './piece-opener.ts';

const name = logPieceName('main', { line: 1, begin: 0x1000000n, end: 0x1000000n + 5000n });
const plain = randomBytes(5000);
const dataKey = randomBytes(32);
const dataKeyId = '0123456789abcdef';
const code = (wanted: string) => (thrown: unknown) =>
  thrown instanceof HelvinoError && thrown.code === wanted;

async function storedPiece() {
  const { repository, driver } = await memoryRepository();
  const { ring } = repository;
  await putLogPiece(driver, name, plain, { ring, dataKey, dataKeyId });
  return { repository, driver, ring, sealed: Buffer.from(await driver.get(name)) };
}

test('a piece – opens with its data key, is checked without it', async () => {
  const { ring, sealed } = await storedPiece();
  assert.equal(logPieceKeyId(sealed, name), dataKeyId);
  assert.deepEqual(Buffer.from(new PieceOpener().open(sealed, name, dataKey)), plain);
  checkLogPiece(sealed, name, ring);
  assert.equal(sealed.includes(plain.subarray(0, 16)), false);
});

test('one opener for any pieces, good and damaged ones in turn – each opens as it is, damage is named', async () => {
  const { repository, driver } = await memoryRepository();
  const keys = { ring: repository.ring, dataKey, dataKeyId };
  const opener = new PieceOpener();
  for (const [i, length] of [70_000, 1, 300_000, 8192, 299_999, 70_000].entries()) {
    const begin = BigInt(i + 2) << 24n;
    const place = logPieceName('main', { line: 1, begin, end: begin + BigInt(length) });
    const bytes = i % 2 === 0 ? randomBytes(length) : Buffer.alloc(length, `WAL ${i}`);
    await putLogPiece(driver, place, bytes, keys);
    const sealed = Buffer.from(await driver.get(place));
    const damaged = Buffer.from(sealed);
    damaged[damaged.length - 20]! ^= 1;
    assert.throws(() => opener.open(damaged, place, dataKey), code('REPOSITORY_DAMAGED'));
    assert.throws(() => opener.open(sealed, place, randomBytes(32)), code('REPOSITORY_DAMAGED'));
    const longer = logPieceName('main', { line: 1, begin, end: begin + BigInt(length) + 1n });
    assert.throws(() => opener.open(sealed, longer, dataKey), code('REPOSITORY_DAMAGED'));
    assert.deepEqual(Buffer.from(opener.open(sealed, place, dataKey)), bytes, `${length} bytes`);
  }
});

test('pieces stored at the same time in a store that is slow to read them – each is its own, sealed here and in threads', async () => {
  const { repository, driver } = await memoryRepository();
  const slow: typeof driver = {
    ...driver,
    put: async (name, body, how) => {
      await sleep(5 + Math.random() * 40);
      await driver.put(name, body, how);
    },
    get: (name, range, into) => driver.get(name, range, into),
    remove: (name) => driver.remove(name),
  };
  const keys = { ring: repository.ring, dataKey, dataKeyId };
  const sealer = new LogSealer({ workers: 2 });
  const pieces = Array.from({ length: 40 }, (_, i) => {
    const begin = BigInt(i) << 24n;
    const bytes = new Uint8Array(new SharedArrayBuffer(40_000 + i * 1000));
    bytes.set(randomBytes(bytes.length));
    return { bytes, name: logPieceName('main', { line: 1, begin, end: begin + BigInt(bytes.length) }) };
  });
  await Promise.all(
    pieces.map(async ({ name, bytes }, i) => {
      await sleep(i * 3);
      if (i % 2 === 0) await putLogPiece(slow, name, bytes, keys);
      else await sealer.put(slow, name, bytes, keys);
    }),
  );
  await sealer.close();
  for (const { name, bytes } of pieces) {
    const plain = new PieceOpener().open(await driver.get(name), name, dataKey);
    assert.ok(Buffer.from(plain).equals(bytes), name);
  }
});

test('a piece that is there – the same content is accepted, under another data key and after a rotation of the catalog key, too', async () => {
  const { driver, ring, sealed } = await storedPiece();
  await putLogPiece(driver, name, plain, {
    ring: catalogRing([randomBytes(32), ...ring.keys]),
    dataKey: randomBytes(32),
    dataKeyId: 'fedcba9876543210',
  });
  assert.deepEqual(Buffer.from(await driver.get(name)), sealed);
});

test('a piece that is there with other content – WAL_CONFLICT, nothing is overwritten', async () => {
  const { driver, ring, sealed } = await storedPiece();
  const other = Buffer.from(plain);
  other[4999]! ^= 1;
  await assert.rejects(putLogPiece(driver, name, other, { ring, dataKey, dataKeyId }), code('WAL_CONFLICT'));
  assert.deepEqual(Buffer.from(await driver.get(name)), sealed);
});

test('a piece that is there and damaged – is not taken for the same', async () => {
  const { driver, ring, sealed } = await storedPiece();
  sealed[sealed.length - 1]! ^= 1;
  await driver.put(name, [sealed], { ifAbsent: false });
  await assert.rejects(
    putLogPiece(driver, name, plain, { ring, dataKey, dataKeyId }),
    code('REPOSITORY_DAMAGED'),
  );
});

test('any byte of a piece changed, any cut, another name – noticed without the data key', async () => {
  const { ring, sealed } = await storedPiece();
  const places = [...Array.from({ length: 120 }, (_, i) => i), sealed.length - 1];
  for (const place of places) {
    const changed = Buffer.from(sealed);
    changed[place]! ^= 0x10;
    // Bytes 16 to 23 name the catalog key.
    const wanted = place >= 16 && place < 24 ? 'KEY_WRONG' : 'REPOSITORY_DAMAGED';
    assert.throws(() => checkLogPiece(changed, name, ring), code(wanted), `byte ${place}`);
  }
  for (const length of [0, 39, 87, 103, sealed.length - 1])
    assert.throws(
      () => checkLogPiece(sealed.subarray(0, length), name, ring),
      code('REPOSITORY_DAMAGED'),
      `${length} bytes`,
    );
  assert.throws(
    () => checkLogPiece(sealed, name.replace('/main/', '/other/'), ring),
    code('REPOSITORY_DAMAGED'),
  );
});

test('a history file that is there – the same is accepted, another is WAL_CONFLICT; labels are no histories', async () => {
  const { repository } = await memoryRepository();
  const file = { database: 'main', kind: 'history', name: '00000002.history' } as const;
  const bytes = Buffer.from('1\t0/3000148\tno recovery target specified\n');
  await putLogFile(repository, { ...file, bytes });
  await putLogFile(repository, { ...file, bytes });
  await assert.rejects(
    putLogFile(repository, { ...file, bytes: Buffer.from('1\t0/4000148\tother\n') }),
    code('WAL_CONFLICT'),
  );
  await putLogFile(repository, { ...file, kind: 'labels', name: 'x.backup', bytes });
  assert.deepEqual(
    [...(await logFiles(repository, 'main'))].map(([key, value]) => [key, Buffer.from(value)]),
    [['00000002.history', bytes]],
  );
});
