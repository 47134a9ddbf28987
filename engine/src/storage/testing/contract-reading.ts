import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasCode, namesOf, patterned, pieces, type TestStore, text, withStore } from './contract-tools.ts';

const once = { ifAbsent: true };

export function registerReadingContract(open: () => Promise<TestStore>, many: number): void {
  registerRanges(open);
  registerPlaces(open);
  registerLists(open);
  registerLongLists(open, many);
}

function registerRanges(open: () => Promise<TestStore>): void {
  test('ranges – first, middle, last byte and all give exactly these bytes', () =>
    withStore(open, async (driver) => {
      const bytes = patterned(100_000, 1);
      await driver.put('r', pieces(bytes, 777), once);
      for (const [offset, length] of [
        [0, 1],
        [0, 100_000],
        [49_999, 1234],
        [99_999, 1],
        [1, 99_999],
      ] as const) {
        const got = await driver.get('r', { offset, length });
        assert.deepEqual(Buffer.from(got), Buffer.from(bytes.subarray(offset, offset + length)));
      }
    }));

  test('ranges that reach past the end – STORAGE_SHORT_READ, never fewer bytes', () =>
    withStore(open, async (driver) => {
      await driver.put('r', [text('0123456789')], once);
      await driver.put('empty', [], once);
      for (const range of [
        { offset: 0, length: 11 },
        { offset: 9, length: 2 },
        { offset: 10, length: 1 },
        { offset: 11, length: 0 },
        { offset: 1e15, length: 1e15 },
      ]) {
        await assert.rejects(driver.get('r', range), hasCode('STORAGE_SHORT_READ'));
      }
      await assert.rejects(driver.get('empty', { offset: 0, length: 1 }), hasCode('STORAGE_SHORT_READ'));
    }));

  test('a range of no bytes – is empty inside the object and at its end, STORAGE_NOT_FOUND for a missing one', () =>
    withStore(open, async (driver) => {
      await driver.put('r', [text('0123456789')], once);
      for (const offset of [0, 5, 10]) assert.equal((await driver.get('r', { offset, length: 0 })).length, 0);
      await assert.rejects(driver.get('none', { offset: 0, length: 0 }), hasCode('STORAGE_NOT_FOUND'));
    }));

  test('ranges that are none – are refused', () =>
    withStore(open, async (driver) => {
      await driver.put('r', [text('0123456789')], once);
      for (const range of [
        { offset: -1, length: 1 },
        { offset: 0, length: -1 },
        { offset: 0.5, length: 1 },
        { offset: 0, length: Number.NaN },
      ]) {
        await assert.rejects(driver.get('r', range), hasCode('INTERNAL'));
      }
    }));
}

function registerPlaces(open: () => Promise<TestStore>): void {
  test('into – the result is a view of the given memory, shared or not, and the rest of it is untouched', () =>
    withStore(open, async (driver) => {
      await driver.put('r', [text('0123456789')], once);
      for (const memory of [new ArrayBuffer(20), new SharedArrayBuffer(20)]) {
        const all = new Uint8Array(memory).fill(7);
        const into = all.subarray(5, 15);
        const got = await driver.get('r', { offset: 2, length: 4 }, into);
        assert.equal(got.buffer, memory);
        assert.equal(got.byteOffset, 5);
        assert.equal(got.length, 4);
        assert.deepEqual([...all], [...Array(5).fill(7), ...text('2345'), ...Array(11).fill(7)]);
        assert.equal((await driver.get('r', undefined, into)).length, 10);
        assert.equal(Buffer.from(into).toString(), '0123456789');
      }
      await assert.rejects(driver.get('r', { offset: 0, length: 6 }, new Uint8Array(5)), hasCode('INTERNAL'));
      await assert.rejects(driver.get('r', undefined, new Uint8Array(5)), hasCode('INTERNAL'));
    }));

  test('a missing object – STORAGE_NOT_FOUND, also below or above an existing one', () =>
    withStore(open, async (driver) => {
      await driver.put('a/b', [text('x')], once);
      for (const name of ['none', 'a', 'a/b/c', 'a/c']) {
        await assert.rejects(driver.get(name), hasCode('STORAGE_NOT_FOUND'));
      }
    }));
}

function registerLists(open: () => Promise<TestStore>): void {
  test('list of tricky names – each once, in order of the bytes of the full name', () =>
    withStore(open, async (driver) => {
      // '-' and '.' sort before '/', digits and letters after it.
      const names = [
        'a-b',
        'a.b',
        'a/b',
        'a/b-c/d',
        'a/b.c',
        'a/b0',
        'a0',
        'aa/a',
        'A/z',
        'a_/x',
        'Z',
        '0/1',
        '..a/x',
        '.x',
        '-',
        '_/.t',
      ];
      names.push('a/.tmp', 'a/...', '.tmpx/y', 'b/c/d/e/f/g');
      for (const name of names) await driver.put(name, [text(name)], once);
      const found: [string, number][] = [];
      for await (const object of driver.list('')) found.push([object.name, object.size]);
      const sorted = names.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      assert.deepEqual(
        found,
        sorted.map((name) => [name, name.length]),
      );
    }));

  test('list with a prefix – a prefix of the name, not a folder', () =>
    withStore(open, async (driver) => {
      for (const name of ['a/b', 'a/bc/d', 'a/bc/e', 'a/c', 'ab', 'b/a']) await driver.put(name, [], once);
      assert.deepEqual(await namesOf(driver, 'a'), ['a/b', 'a/bc/d', 'a/bc/e', 'a/c', 'ab']);
      assert.deepEqual(await namesOf(driver, 'a/'), ['a/b', 'a/bc/d', 'a/bc/e', 'a/c']);
      assert.deepEqual(await namesOf(driver, 'a/b'), ['a/b', 'a/bc/d', 'a/bc/e']);
      assert.deepEqual(await namesOf(driver, 'a/bc/'), ['a/bc/d', 'a/bc/e']);
      assert.deepEqual(await namesOf(driver, 'a/bc/e'), ['a/bc/e']);
      assert.deepEqual(await namesOf(driver, 'a/bc/e/'), []);
      assert.deepEqual(await namesOf(driver, 'x/y'), []);
      for (const prefix of ['/', '../', 'a//', 'a/../b', './', 'ä', 'a b']) {
        await assert.rejects(namesOf(driver, prefix), hasCode('INTERNAL'));
      }
    }));
}

function registerLongLists(open: () => Promise<TestStore>, many: number): void {
  test(`${many} objects – all are listed, in order; a consumer may stop early`, () =>
    withStore(open, async (driver) => {
      const names = Array.from(
        { length: many },
        (_, n) => `packs/${(n % 64).toString(16).padStart(2, '0')}/${n}`,
      );
      for (let at = 0; at < names.length; at += 50) {
        await Promise.all(names.slice(at, at + 50).map((name) => driver.put(name, [text(name)], once)));
      }
      assert.deepEqual(await namesOf(driver, 'packs/'), names.toSorted());
      const some: string[] = [];
      for await (const { name } of driver.list('')) if (some.push(name) === 3) break;
      assert.deepEqual(some, names.toSorted().slice(0, 3));
    }));

  test('objects removed and put while a list runs – what stays throughout is listed exactly once', () =>
    withStore(open, async (driver) => {
      const stay = Array.from({ length: 60 }, (_, n) => `s/${String(n).padStart(3, '0')}`);
      for (const name of stay) await driver.put(name, [], once);
      for (const name of stay) await driver.put(`${name}x`, [], once);
      const seen: string[] = [];
      for await (const { name } of driver.list('')) {
        if (!name.endsWith('x') && !name.endsWith('y')) seen.push(name);
        await driver.remove(`${name}x`);
        await driver.put(`s/${seen.length}-${name.slice(2)}y`, [], { ifAbsent: false });
      }
      assert.deepEqual(seen, stay);
    }));
}
