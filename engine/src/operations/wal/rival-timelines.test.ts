import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LedgerRange } from '../../catalog/index.ts';
import { pathOf } from './path-of.ts';
import { rivalTimelines, rivalWords } from './rival-timelines.ts';

const histories = new Map(
  Object.entries({
    '00000002.history': '1\t0/3000\tno recovery target specified\n',
    '00000003.history': '1\t0/5000\tno recovery target specified\n',
    '00000004.history': '1\t0/5000\tx\n3\t0/7000\tx\n',
  }).map(([name, text]) => [name, Buffer.from(text)]),
);
const range = (line: number, begin: number, end: number): LedgerRange => ({
  line,
  begin: BigInt(begin),
  end: BigInt(end),
});
const words = (chosen: number, ranges: readonly LedgerRange[]) =>
  rivalTimelines(pathOf(chosen, histories), ranges, histories).map(rivalWords);

test('a timeline that was left in order – is no rival', () => {
  assert.deepEqual(words(1, [range(1, 0x1000, 0x9000)]), []);
  assert.deepEqual(
    words(4, [range(1, 0x1000, 0x5000), range(3, 0x5000, 0x7000), range(4, 0x7000, 0x8000)]),
    [],
  );
});

test('the former primary, or another branch, that went on – is named with where they parted', () => {
  assert.deepEqual(words(4, [range(1, 0x1000, 0x5800), range(3, 0x5000, 0x7000), range(4, 0x7000, 0x8000)]), [
    'timeline 1, which went on from 0/5000 to 0/5800',
  ]);
  assert.deepEqual(words(4, [range(1, 0x1000, 0x5000), range(2, 0x3000, 0x6000), range(4, 0x7000, 0x8000)]), [
    'timeline 2, which went on from 0/3000 to 0/6000',
  ]);
});

test('a timeline of which nobody knows whence it came – is no rival that one could name', () => {
  assert.deepEqual(words(2, [range(2, 0x3000, 0x6000), range(5, 0x9000, 0xa000)]), []);
});
