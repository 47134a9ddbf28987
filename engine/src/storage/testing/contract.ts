/**
 * The storage contract as tests: each promise of driver.ts, on any driver. `open` gives an empty store each time it is
 * called; `close` removes it.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { HelvinoError } from '../../base/errors.ts';
import type { StorageDriver } from '../driver.ts';
import { registerConcurrencyContract } from './contract-concurrency.ts';
import { registerReadingContract } from './contract-reading.ts';
import { hasCode, namesOf, type TestStore, text, withStore } from './contract-tools.ts';

export type { TestStore } from './contract-tools.ts';

/** `many`: how many objects a long list has; fewer where each costs requests. */
export function registerStorageContract(name: string, open: () => Promise<TestStore>, many = 2000): void {
  describe(`storage contract: ${name}`, { concurrency: 1 }, () => {
    registerWritingContract(open);
    registerReplacingContract(open);
    registerRemovingContract(open);
    registerRetentionContract(open);
    registerReadingContract(open, many);
    registerConcurrencyContract(open);
  });
}

const once = { ifAbsent: true };

function registerWritingContract(open: () => Promise<TestStore>): void {
  test('an object put in pieces – is read back as one', () =>
    withStore(open, async (driver) => {
      await driver.put('a/b/c', [text('one '), text(''), text('two '), text('three')], once);
      assert.equal(Buffer.from(await driver.get('a/b/c')).toString(), 'one two three');
    }));

  test('pieces in shared memory, and more pieces than one system call takes – are stored', () =>
    withStore(open, async (driver) => {
      const shared = new Uint8Array(new SharedArrayBuffer(5000)).map((_, n) => n % 251);
      const pieces = Array.from({ length: 5000 }, (_, n) => shared.subarray(n, n + 1));
      await driver.put('pieces', pieces, once);
      assert.deepEqual(Buffer.from(await driver.get('pieces')), Buffer.from(shared));
    }));

  test('an empty object – exists, has size 0 and no bytes', () =>
    withStore(open, async (driver) => {
      await driver.put('nothing', [], once);
      await driver.put('nothing-either', [text('')], once);
      assert.equal((await driver.get('nothing')).length, 0);
      assert.equal((await driver.head('nothing-either'))?.size, 0);
      assert.deepEqual(await namesOf(driver, ''), ['nothing', 'nothing-either']);
    }));

  test('put with ifAbsent on an existing object – STORAGE_EXISTS, and the object stays as it was', () =>
    withStore(open, async (driver) => {
      await driver.put('x', [text('first')], once);
      await assert.rejects(driver.put('x', [text('second')], once), hasCode('STORAGE_EXISTS'));
      await assert.rejects(driver.put('x', [], once), hasCode('STORAGE_EXISTS'));
      assert.equal(Buffer.from(await driver.get('x')).toString(), 'first');
    }));
}

function registerReplacingContract(open: () => Promise<TestStore>): void {
  test('put without ifAbsent on an existing object – replaces it', () =>
    withStore(open, async (driver) => {
      await driver.put('x', [text('a long first content')], once);
      await driver.put('x', [text('second')], { ifAbsent: false });
      assert.equal(Buffer.from(await driver.get('x')).toString(), 'second');
      assert.deepEqual(await namesOf(driver, ''), ['x']);
    }));

  test('the caller changes its buffer after put – the stored object does not change', () =>
    withStore(open, async (driver) => {
      const body = text('before');
      await driver.put('x', [body], once);
      body.fill(0);
      const read = await driver.get('x');
      assert.equal(Buffer.from(read).toString(), 'before');
      read.fill(0);
      assert.equal(Buffer.from(await driver.get('x')).toString(), 'before');
    }));

  test('head – size and a date by the clock of the store; undefined for a missing object', () =>
    withStore(open, async (driver) => {
      const before = await driver.now();
      await driver.put('f/x', [text('12345')], once);
      const after = await driver.now();
      const facts = await driver.head('f/x');
      assert.equal(facts?.name, 'f/x');
      assert.equal(facts?.size, 5);
      const written = facts?.modified.getTime() ?? 0;
      // S3 dates objects to the second.
      assert.ok(written >= before.getTime() - 1000 && written <= after.getTime() + 1000, `${written}`);
      assert.equal(await driver.head('f'), undefined);
      assert.equal(await driver.head('f/x/y'), undefined);
      assert.equal(await driver.head('none'), undefined);
    }));

  for (const name of invalidNames) {
    test(`the name ${JSON.stringify(name.slice(0, 30))} – is refused by every call, and nothing is stored`, () =>
      withStore(open, async (driver) => {
        await assert.rejects(driver.put(name, [text('x')], once), hasCode('INTERNAL'));
        await assert.rejects(driver.get(name), hasCode('INTERNAL'));
        await assert.rejects(driver.head(name), hasCode('INTERNAL'));
        await assert.rejects(driver.remove(name), hasCode('INTERNAL'));
        assert.deepEqual(await namesOf(driver, ''), []);
      }));
  }
}

const invalidNames = [
  '',
  '/',
  '/a',
  'a/',
  'a//b',
  '.',
  '..',
  '../a',
  'a/../b',
  'a/./b',
  'a b',
  'a\0b',
  'a\\b',
  'ä',
  'a\n',
  '.tmp/a',
  '.tmp',
  'a/.nfs0001',
  'a:b',
  'a'.repeat(256),
  `${'a/'.repeat(600)}a`,
];

function registerRemovingContract(open: () => Promise<TestStore>): void {
  test('remove – the object is gone, its neighbours stay; removing it again succeeds', () =>
    withStore(open, async (driver) => {
      await driver.put('a/x', [text('x')], once);
      await driver.put('a/y', [text('y')], once);
      await driver.remove('a/x');
      await driver.remove('a/x');
      await driver.remove('never/was/here');
      await assert.rejects(driver.get('a/x'), hasCode('STORAGE_NOT_FOUND'));
      assert.deepEqual(await namesOf(driver, ''), ['a/y']);
      await driver.remove('a');
      assert.deepEqual(await namesOf(driver, ''), ['a/y']);
    }));

  test('put after remove – the name is free again, also as a folder', () =>
    withStore(open, async (driver) => {
      await driver.put('a/b/x', [text('one')], once);
      await driver.remove('a/b/x');
      await driver.put('a/b/x', [text('two')], once);
      assert.equal(Buffer.from(await driver.get('a/b/x')).toString(), 'two');
      await driver.remove('a/b/x');
      await driver.put('a/b', [text('three')], once);
      assert.deepEqual(await namesOf(driver, ''), ['a/b']);
    }));
}

function registerRetentionContract(open: () => Promise<TestStore>): void {
  test('retention – keeps the object where the driver says that it can, and does nothing where not', () =>
    withStore(open, async (driver) => {
      const soon = new Date((await driver.now()).getTime() + 3_600_000);
      await driver.put('kept', [text('x')], { ifAbsent: true, retainUntil: soon });
      await driver.put('later', [text('x')], once);
      await driver.extendRetention('later', soon);
      await driver.extendRetention('later', new Date(soon.getTime() - 1_800_000));
      for (const name of ['kept', 'later']) {
        if (driver.capabilities.retention)
          await assert.rejects(driver.remove(name), hasCode('STORAGE_DENIED'));
        else await driver.remove(name);
      }
      assert.deepEqual(await namesOf(driver, ''), driver.capabilities.retention ? ['kept', 'later'] : []);
      await assert.rejects(driver.extendRetention('none', soon), hasCode('STORAGE_NOT_FOUND'));
    }));

  test('every failure – is a HelvinoError that names the object', () =>
    withStore(open, async (driver: StorageDriver) => {
      await driver.put('some/name', [text('12')], once);
      const failures = [
        driver.get('other/name'),
        driver.get('some/name', { offset: 0, length: 3 }),
        driver.put('some/name', [], once),
      ];
      for (const failure of await Promise.allSettled(failures)) {
        const reason: unknown = failure.status === 'rejected' ? failure.reason : undefined;
        assert.ok(reason instanceof HelvinoError);
        assert.match(reason.message, /(other|some)\/name/);
      }
    }));
}
