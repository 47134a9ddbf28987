import assert from 'node:assert/strict';
import { test } from 'node:test';
import { safeUntil } from './safe-until.ts';

const now = new Date('2026-11-25T12:00:00Z');
const every = { verifyEvery: 8 * 86_400, drillEvery: 32 * 86_400 };
const kind = (name: string, made: string) => ({
  kind: name,
  newest: 'x',
  made,
  ageSeconds: 0,
  maxAgeSeconds: 36 * 3600,
  bytes: 1,
  stored: 1,
});
const proof = (on: string) => ({
  kind: 'physical',
  backup: 'x',
  text: '',
  state: 'proven' as const,
  on,
  reasons: [],
  unknown: [],
});

test('until when it is safe – the first of the objectives that comes; what is past, or was not good, does not count', () => {
  const fresh = [kind('physical', '2026-11-25T02:00:00Z')];
  const physical = safeUntil({ kinds: fresh, proofs: [], verification: undefined }, every, now);
  assert.deepEqual(physical, {
    at: '2026-11-26T14:00:00.000Z',
    why: 'then the newest physical backup is 36 h old',
  });
  const old = [...fresh, kind('logical', '2026-11-20T02:00:00Z')];
  assert.deepEqual(safeUntil({ kinds: old, proofs: [], verification: undefined }, every, now), physical);
  const proofs = [proof('2026-10-25T00:00:00Z')];
  assert.deepEqual(safeUntil({ kinds: fresh, proofs, verification: undefined }, every, now), {
    at: '2026-11-26T00:00:00.000Z',
    why: 'then the last proof of a physical backup is 32 d ago',
  });
  assert.equal(safeUntil({ kinds: [], proofs: [], verification: undefined }, every, now), undefined);
});
