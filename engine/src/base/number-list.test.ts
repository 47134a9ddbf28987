import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { NumberList } from './number-list.ts';

test('any numbers, pushed and set anywhere – as an array keeps them, 0 where none was set', () => {
  const place = fc.oneof(fc.nat(20), fc.nat(40_000));
  const value = fc.oneof(fc.nat(), fc.constantFrom(2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, -1), fc.double());
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.option(place), value)), (steps) => {
      const list = new NumberList();
      const array: number[] = [];
      for (const [at, number] of steps) {
        if (at === null) list.push(number);
        else list.set(at, number);
        array[at ?? array.length] = number;
      }
      const expected = Array.from(array, (number) => number ?? 0);
      assert.equal(list.length, array.length);
      assert.deepEqual([...list].map(zero), expected.map(zero));
      assert.equal(list.at(array.length + 100_000), 0);
    }),
    { numRuns: 60 },
  );
});

/** Which zero it is does not matter. */
function zero(number: number): number {
  return number === 0 ? 0 : number;
}
