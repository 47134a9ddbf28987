import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pace } from './pace.ts';

/** A clock that only its sleeper and the test move. */
function stillClock() {
  let time = 5000;
  return {
    now: () => new Date(time),
    monotonic: () => time,
    sleep: async (milliseconds: number) => {
      time += milliseconds;
    },
    pass: (milliseconds: number) => {
      time += milliseconds;
    },
  };
}

const never = new AbortController().signal;

test('1 MiB at 1024 KiB/s – takes a second, however it is cut', async () => {
  for (const steps of [1, 4, 64]) {
    const clock = stillClock();
    const pace = new Pace(clock, 1024, never);
    await pace.reached(0);
    const begun = clock.monotonic();
    for (let i = 1; i <= steps; i++) await pace.reached((i << 20) / steps);
    assert.equal(clock.monotonic() - begun, 1000);
  }
});

test('work that takes half of the time – the rate is the same', async () => {
  const clock = stillClock();
  const pace = new Pace(clock, 1024, never);
  await pace.reached(0);
  const begun = clock.monotonic();
  for (let i = 1; i <= 64; i++) {
    clock.pass(7);
    await pace.reached((i << 20) / 64);
  }
  assert.equal(clock.monotonic() - begun, 1000);
});

test('waiting before and in the middle – is not caught up with', async () => {
  const clock = stillClock();
  const pace = new Pace(clock, 1024, never);
  clock.pass(60_000);
  await pace.reached(0);
  const begun = clock.monotonic();
  await pace.reached(1 << 20);
  assert.equal(clock.monotonic() - begun, 1000);
  clock.pass(60_000);
  const again = clock.monotonic();
  for (let i = 1; i <= 8; i++) await pace.reached((1 << 20) + (i << 20) / 8);
  const took = clock.monotonic() - again;
  assert.ok(took >= 750 && took < 1000, `${took}`);
});

test('no rate – never waits', async () => {
  const clock = stillClock();
  await new Pace(clock, undefined, never).reached(1e12);
  assert.equal(clock.monotonic(), 5000);
});
