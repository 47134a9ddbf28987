import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fits } from './check-promises.ts';
import { jsonProblems } from './http-check.ts';
import { lossSeconds, objectiveChecks } from './objectives.ts';

const states = (input: Partial<Parameters<typeof objectiveChecks>[0]>) =>
  objectiveChecks({
    objectives: { rtoSeconds: 60, rpoSeconds: 60 },
    rtoSeconds: undefined,
    loss: undefined,
    application: false,
    ...input,
  }).map(({ name, state }) => `${name} ${state}`);

test('objectives – kept, missed, and never passed without a measurement', () => {
  const by = 'the newest transaction';
  assert.deepEqual(states({}), ['RTO unproven', 'RPO unproven']);
  assert.deepEqual(states({ rtoSeconds: 60, loss: { seconds: 60, by, exact: true } }), [
    'RTO passed',
    'RPO passed',
  ]);
  assert.deepEqual(states({ rtoSeconds: 61, loss: { seconds: 61, by, exact: true } }), [
    'RTO failed',
    'RPO failed',
  ]);
  // Nobody may have written: that no newer transaction is there proves no loss.
  assert.deepEqual(states({ loss: { seconds: 61, by, exact: false } }), ['RTO unproven', 'RPO unproven']);
  assert.deepEqual(states({ objectives: undefined, rtoSeconds: 61 }), []);
});

test('an objective that is missed by a second – the words tell the two apart', () => {
  const words = (rtoSeconds: number, seconds: number) =>
    objectiveChecks({
      objectives: { rtoSeconds: 3600, rpoSeconds: 86_400 },
      rtoSeconds,
      loss: { seconds, by: 'the newest heartbeat', exact: true },
      application: false,
    }).map(({ state, detail }) => `${state}: ${detail}`);
  assert.deepEqual(words(3600.4, 86_401), [
    'failed: 3600.4 s until the database answered; the objective is 3600 s',
    'failed: the newest heartbeat is 86401 s older than the wanted moment; the objective is 86400 s',
  ]);
  assert.match(words(3600, 86_400).join(), /^passed: 1 h 00 min .*,passed: .* is 24 h older .* 24 h$/);
});

test('what is newer than the moment of the drill – a clock is wrong, and nothing is measured', () => {
  const by = 'the newest transaction';
  assert.deepEqual(states({ loss: { seconds: -7200, by, exact: false } }), ['RTO unproven', 'RPO unproven']);
  assert.deepEqual(states({ loss: { seconds: -30, by, exact: false } }), ['RTO unproven', 'RPO passed']);
  assert.equal(lossSeconds({ seconds: -7200, by, exact: true }), undefined);
});

test('expected values – numbers by value, text by text, null only by null', () => {
  assert.ok(fits('20', 20) && fits(20, 20) && fits('20.0', 20) && fits(true, true) && fits(null, null));
  assert.ok(fits('t', 't') && fits('5', { min: 5 }) && fits('5', { max: 5 }) && fits('5', {}));
  assert.ok(
    !fits(null, 0) && !fits('', 0) && !fits(false, true) && !fits('null', null) && !fits(null, 'null'),
  );
  assert.ok(!fits('4', { min: 5 }) && !fits('6', { max: 5 }) && !fits(null, { min: 0 }) && !fits('x', {}));
});

test('values of an answer – found by path; what is missing or another is named', () => {
  const body = Buffer.from(JSON.stringify({ a: { b: [{ c: 1 }, null] }, 'd.e': 2 }));
  assert.deepEqual(jsonProblems(body, { 'a.b.0.c': 1, 'a.b.1': null, 'a.b.length': 2 }), []);
  assert.deepEqual(jsonProblems(body, { 'a.b.0.c': '1', 'a.x': null, 'a.constructor': 1 }), [
    'a.b.0.c is 1, expected was "1"',
    'a.x is not there, expected was null',
    'a.constructor is not there, expected was 1',
  ]);
  assert.deepEqual(jsonProblems(Buffer.from('<html>'), { a: 1 }), ['the answer is no JSON']);
  assert.deepEqual(jsonProblems(Buffer.from('<html>'), {}), []);
});
