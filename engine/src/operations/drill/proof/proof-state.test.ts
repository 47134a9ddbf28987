import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testReport } from '../report/report-fixture.ts';
import { proofState, proofText, standingProof } from './proof-state.ts';

const fingerprint = { config: 'c1', keys: 'k1', schema: 's1', server: '18.4' };
const every = 32 * 86_400;
const day = (n: number) => new Date(Date.parse('2026-11-01T05:14:40.500Z') + n * 86_400_000);
const facts = (more: Partial<typeof fingerprint> = {}, now = day(1)) => ({
  now,
  every,
  fingerprint: { ...fingerprint, ...more },
});
const report = testReport({ fingerprint });

test('nothing changed and young – proven, until its age ends it', () => {
  const state = proofState(report, facts());
  assert.deepEqual([state.state, state.until], ['proven', day(32).toISOString()]);
  assert.equal(proofText(state), 'proven on 2026-11-01');
});

test('on the last moment of its age – proven; a moment later – stale', () => {
  assert.equal(proofState(report, facts({}, day(32))).state, 'proven');
  const state = proofState(report, facts({}, new Date(day(32).getTime() + 1)));
  assert.match(proofText(state), /^proven on 2026-11-01, stale because it is 32 d old/);
});

test('of a day that is to come – stale: a clock was wrong, and it must not be proven for ever', () => {
  const state = proofState(report, facts({}, day(-400)));
  assert.match(proofText(state), /stale because it is 400 d in the future: a clock was wrong/);
  assert.equal(proofState(report, facts({}, new Date(day(0).getTime() - 300_000))).state, 'proven');
});

for (const [part, now, words] of [
  ['config', 'c2', 'the configuration changed since'],
  ['keys', 'k2', 'the keys changed since'],
  ['schema', 's2', 'the schema changed since'],
  ['server', '19.1', 'the server was 18.4 and is 19.1 now'],
] as const)
  test(`${part} is another – stale, and says so`, () => {
    const state = proofState(report, facts({ [part]: now }));
    assert.equal(state.state, 'stale');
    assert.equal(proofText(state), `proven on 2026-11-01, stale because ${words}`);
  });

test('several reasons – all are said', () => {
  const text = proofText(proofState(report, facts({ schema: 's2', keys: 'k2' }, day(40))));
  assert.match(text, /because the keys changed since, the schema changed since and it is 40 d old/);
});

test('never drilled, failed, partly proven – are no proof, whatever their age', () => {
  assert.equal(proofText(proofState(undefined, facts())), 'unproven: no drill yet');
  assert.equal(proofState(testReport({ verdict: 'failed' }), facts()).state, 'failed');
  assert.equal(proofState(testReport({ verdict: 'partly proven' }), facts()).state, 'partly proven');
});

test('a drill that recorded nothing to compare with – proven by age, and what is not known is said', () => {
  const state = proofState(testReport(), facts());
  assert.deepEqual([state.state, state.unknown.length], ['proven', 4]);
  assert.match(proofText(state), /what changed since is not known/);
});

test('several drills of one backup – the newest counts; one that was partly proven takes nothing from a proof before it', () => {
  const of = (...verdicts: ('proven' | 'partly proven' | 'failed')[]) =>
    standingProof(verdicts.map((verdict) => testReport({ verdict })))?.verdict;
  assert.equal(of(), undefined);
  assert.equal(of('proven', 'partly proven', 'partly proven'), 'proven');
  assert.equal(of('failed', 'partly proven'), 'partly proven');
  assert.equal(of('proven', 'failed', 'partly proven'), 'partly proven');
  assert.equal(of('proven', 'failed'), 'failed');
  assert.equal(of('failed', 'proven'), 'proven');
});
