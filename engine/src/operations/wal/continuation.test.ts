import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RecordedGap } from '../../catalog/index.ts';
import { continuation, reliableEnd } from './continuation.ts';

const history = [
  { timeline: 1, switchLsn: 100n },
  { timeline: 2, switchLsn: 200n },
];
const place = { timeline: 3, history, restart: 250n };

test('nothing is stored – where the slot keeps WAL from', () => {
  assert.deepEqual(continuation({ ...place, last: undefined }), { timeline: 3, start: 250n });
});

test('what was confirmed is all that is stored – there', () => {
  assert.deepEqual(continuation({ ...place, last: { timeline: 3, end: 250n } }), {
    timeline: 3,
    start: 250n,
  });
});

test('more is stored than was confirmed – back to what was confirmed', () => {
  assert.deepEqual(continuation({ ...place, last: { timeline: 3, end: 300n } }), {
    timeline: 3,
    start: 250n,
  });
});

test('stored up to a timeline that the server has left – on there, but not before that timeline began', () => {
  const last = { timeline: 2, end: 180n };
  assert.deepEqual(continuation({ ...place, last, restart: 150n }), { timeline: 2, start: 150n });
  assert.deepEqual(continuation({ ...place, last, restart: 50n }), { timeline: 2, start: 100n });
  const first = { timeline: 1, end: 90n };
  assert.deepEqual(continuation({ ...place, last: first, restart: 50n }), { timeline: 1, start: 50n });
});

test('stored beyond where the server left a timeline, or of one that it never was on – its own timeline, from its begin', () => {
  for (const last of [
    { timeline: 2, end: 220n },
    { timeline: 4, end: 400n },
  ])
    assert.deepEqual(continuation({ ...place, last, restart: 150n }), { timeline: 3, start: 200n });
});

test('the slot keeps WAL only from later on – from there, and the gap is named', () => {
  assert.deepEqual(continuation({ ...place, last: { timeline: 3, end: 220n } }), {
    timeline: 3,
    start: 250n,
    gap: { timeline: 3, from: 220n, to: 250n },
  });
});

const mib = (n: number) => BigInt(n) << 20n;
const piece = (begin: number, end: number) => ({ line: 1, begin: mib(begin), end: mib(end) });

test('a hole shortly before the end of what is stored – the end is before it, unless it is recorded or long ago', () => {
  const end = (pieces: ReturnType<typeof piece>[], gaps: RecordedGap[] = []) =>
    reliableEnd(pieces, { segmentSize: 16 << 20, gaps });
  const gap = (from: number, to: number): RecordedGap => ({
    reason: 'slot-lost',
    timeline: 1,
    toTimeline: 1,
    from: mib(from),
    to: mib(to),
    time: '2026-01-01T00:00:00.000Z',
  });
  assert.equal(end([]), 0n);
  assert.equal(end([piece(0, 16), piece(16, 32)]), mib(32));
  const holed = [piece(160, 176), piece(192, 208), piece(224, 240)];
  assert.equal(end(holed), mib(176), 'the earliest of two');
  assert.equal(end(holed, [gap(208, 224)]), mib(240));
  assert.equal(end(holed, [gap(176, 192)]), mib(208));
  assert.equal(end([piece(0, 16), piece(160, 240)]), mib(240), 'retention has removed what was between');
});
