import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryRepository } from '../../../test/repository-fixture.ts';
import { silentProgress } from '../../base/progress.ts';
import {
  createIdentity,
  type Identities,
  logPieceName,
  openIdentities,
  putLogNote,
  putLogPiece,
  recipientOf,
} from '../../repository/index.ts';
import { checkLog } from './check-log.ts';

async function setUp() {
  const fixture = await memoryRepository();
  const { repository } = fixture;
  const identity = await createIdentity();
  const identities = await openIdentities(identity, 'the test');
  const { key, keyId } = await repository.newDataKey([await recipientOf(identity)]);
  const place = { line: 1, begin: 0n, end: 4n };
  const piece = logPieceName('main', place);
  await putLogPiece(repository.driver, piece, Buffer.from('wal!'), {
    ring: repository.ring,
    dataKey: key,
    dataKeyId: keyId,
  });
  const note = await putLogNote(repository, {
    ...place,
    database: 'main',
    kind: 'index',
    bytes: Buffer.from('{}'),
  });
  const check = async (given?: Identities) => {
    const options = { repository, databases: ['main'], progress: silentProgress };
    const { signal } = new AbortController();
    return (await checkLog({ ...options, ...(given ? { identities: given } : {}), signal })).damage;
  };
  const replace = async (name: string, change: (bytes: Buffer) => void) => {
    const bytes = Buffer.from(await repository.driver.get(name));
    change(bytes);
    await repository.driver.remove(name);
    await repository.driver.put(name, [bytes], { ifAbsent: true });
  };
  return { ...fixture, identities, piece, note, keyId, check, replace };
}

test('WAL and its index as they were stored – no damage', async () => {
  const { check, identities } = await setUp();
  assert.deepEqual(await check(), []);
  assert.deepEqual(await check(identities), []);
});

test('a flipped bit in WAL or in its index – named', async () => {
  for (const which of ['piece', 'note'] as const) {
    const { check, replace, [which]: name } = await setUp();
    await replace(name, (bytes) => {
      bytes[bytes.length - 3]! ^= 4;
    });
    assert.deepEqual(
      (await check()).map(({ object }) => object),
      [name],
    );
  }
});

test('the sealed data key of WAL is gone – named, also without the identity', async () => {
  const { check, repository, identities, keyId } = await setUp();
  for await (const { name } of repository.driver.list(`keys/data/${keyId}`))
    await repository.driver.remove(name);
  for (const given of [undefined, identities]) {
    const damage = await check(given);
    assert.deepEqual(
      damage.map(({ object }) => object),
      [`keys/data/${keyId}`],
    );
    assert.match(damage[0]!.why, /nobody can open 1 piece of WAL/);
  }
});
