import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from '../../base/clock.ts';
import { ProgressDisplay } from './progress-display.ts';

function stage(terminal: { isTTY: boolean; columns?: number }) {
  let now = 1000;
  const written: string[] = [];
  const clock: Clock = {
    now: () => new Date(now),
    monotonic: () => now,
    sleep: () => Promise.reject(new Error('the display does not wait')),
  };
  const stream = { ...terminal, write: (text: string) => written.push(text) };
  const display = new ProgressDisplay(stream, clock);
  return { display, written, pass: (milliseconds: number) => (now += milliseconds) };
}

const mebibyte = 1024 ** 2;

test('on a terminal – one line is redrawn with bar, share, amounts, rate and time left', () => {
  const { display, written, pass } = stage({ isTTY: true, columns: 120 });
  display.phase('receiving', 100 * mebibyte, 'bytes');
  for (let second = 0; second < 10; second++) {
    pass(1000);
    display.advance(5 * mebibyte);
  }
  assert.equal(
    written.at(-1),
    '\r\u001b[Kreceiving  [============            ]  50 %  50.0 MiB of 100 MiB  5.00 MiB/s  10 s left',
  );
  display.clear();
  assert.equal(written.at(-1), '\r\u001b[K');
  const lines = written.length;
  display.clear();
  assert.equal(written.length, lines, 'nothing is left to take away');
});

test('on a narrow terminal – the line never wraps', () => {
  const { display, written, pass } = stage({ isTTY: true, columns: 30 });
  display.phase('receiving', 100 * mebibyte, 'bytes');
  pass(1000);
  display.advance(mebibyte);
  for (const text of written) assert.ok(text.replace('\r\u001b[K', '').length < 30, text);
});

test('many small steps – redrawn ten times a second at most', () => {
  const { display, written, pass } = stage({ isTTY: true });
  display.phase('checking', 10_000, 'items');
  for (let step = 0; step < 10_000; step++) {
    pass(0.1);
    display.advance(1);
  }
  assert.ok(written.length >= 8 && written.length <= 12, String(written.length));
});

test('without a terminal – a line for the phase, then one about every five seconds', () => {
  const { display, written, pass } = stage({ isTTY: false });
  display.phase('receiving', 100 * mebibyte, 'bytes');
  for (let second = 0; second < 12; second++) {
    pass(1000);
    display.advance(2 * mebibyte);
  }
  assert.deepEqual(written, [
    'receiving (100 MiB)\n',
    '  10 %  10.0 MiB of 100 MiB  2.00 MiB/s  45 s left\n',
    '  20 %  20.0 MiB of 100 MiB  2.00 MiB/s  40 s left\n',
  ]);
});

test('a source that slows down – the rate follows within seconds', () => {
  const { display, written, pass } = stage({ isTTY: false });
  display.phase('receiving', undefined, 'bytes');
  const run = (seconds: number, perSecond: number) => {
    for (let second = 0; second < seconds; second++) {
      pass(1000);
      display.advance(perSecond);
    }
  };
  run(100, 100 * mebibyte);
  run(30, mebibyte);
  const rate = /([\d.]+) MiB\/s/.exec(written.at(-1)!)?.[1];
  assert.ok(Number(rate) < 2, `${rate} MiB/s is shown of a source that gives 1`);
});

test('a warning during a phase – on a line of its own, then the line is drawn again', () => {
  const { display, written } = stage({ isTTY: true });
  display.phase('receiving', 10, 'items');
  display.note('warn', 'a page is damaged');
  display.note('info', 'a fact');
  assert.deepEqual(written.slice(1, 3), ['\r\u001b[K', 'warning: a page is damaged\n']);
  assert.ok(written.includes('a fact\n'));
  assert.match(written.at(-1)!, /receiving/);
});

test('more than the total – never above 100 %, no time left', () => {
  const { display, written, pass } = stage({ isTTY: true });
  display.phase('receiving', 10, 'items');
  pass(1000);
  display.advance(30);
  assert.match(written.at(-1)!, /100 % {2}30 of 10/);
  assert.doesNotMatch(written.at(-1)!, /left/);
});
