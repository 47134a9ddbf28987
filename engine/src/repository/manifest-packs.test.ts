import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { ManifestPacks, type PackFacts } from './manifest-packs.ts';

test('packs of a manifest – each once, as they came, also very large ones and those under several keys', () => {
  const facts: PackFacts[] = Array.from({ length: 40_000 }, (_, n) => ({
    id: randomBytes(16).toString('hex'),
    keyId: `key ${n % 3}`,
    size: n % 1000 === 7 ? 2 ** 40 + n : n,
    ...(n % 5 === 0 ? { structure: true } : {}),
  }));
  const packs = new ManifestPacks();
  for (const pack of [...facts, facts[3]!]) packs.add(pack);
  assert.equal(packs.length, facts.length);
  assert.deepEqual([...packs], facts);
  assert.deepEqual(JSON.parse(JSON.stringify(packs)), facts);
  for (const pack of [facts[0]!, facts[7]!, facts.at(-1)!]) assert.deepEqual(packs.withId(pack.id), pack);
  assert.equal(packs.withId('f'.repeat(32)), undefined);
});
