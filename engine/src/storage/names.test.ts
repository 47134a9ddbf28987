import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { openFsDriver } from './index.ts';
import { assertPrefix, isObjectName } from './names.ts';
import { hasCode, namesOf, text } from './testing/contract-tools.ts';
import { inFolder } from './testing/temporary-folder.ts';

const hostile = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '..',
        '.',
        '',
        '/',
        '\\',
        '.tmp',
        '.nfs1',
        'a',
        'b.c',
        '~',
        '%2e%2e',
        '\0',
        'ü',
        '．．',
        ' ',
        '\n',
        'A-_.9',
        '...',
      ),
      fc.string({ maxLength: 4, unit: 'binary' }),
    ),
    { minLength: 1, maxLength: 6 },
  )
  .chain((parts) => fc.constantFrom('/', '', '//').map((joint) => parts.join(joint)));

const harmless = fc
  .array(fc.constantFrom('a', 'b.c', '-', '_', '...', '..a', '.x', '.tmp', 'Z9', '..'), {
    minLength: 1,
    maxLength: 5,
  })
  .map((parts) => parts.join('/'));

test('any string – is a name only if it is what names.ts says, and then its path stays inside the root', () => {
  let accepted = 0;
  fc.assert(
    fc.property(fc.oneof(hostile, harmless), (name) => {
      const parts = name.split('/');
      const plain = parts.every(
        (part) => /^[\w.-]{1,255}$/.test(part) && !['.', '..'].includes(part) && !part.startsWith('.nfs'),
      );
      assert.equal(isObjectName(name), plain && parts[0] !== '.tmp' && name.length <= 1024);
      if (!isObjectName(name)) return;
      accepted++;
      assert.equal(relative('/root/of/store', join('/root/of/store', name)), name);
    }),
    { numRuns: 3000 },
  );
  assert.ok(accepted > 100, `${accepted} accepted`);
});

test('any string as a name on a disk – is stored under exactly that name, or refused and nothing is written', () =>
  fc.assert(
    fc.asyncProperty(fc.oneof(hostile, harmless), (name) =>
      inFolder(async (folder) => {
        const root = join(folder, 'root');
        const driver = await openFsDriver({ root });
        if (isObjectName(name)) {
          await driver.put(name, [text('x')], { ifAbsent: true });
          assert.deepEqual(await namesOf(driver, ''), [name]);
          assert.deepEqual(await readdir(folder), ['root']);
        } else {
          await assert.rejects(driver.put(name, [text('x')], { ifAbsent: true }), hasCode('INTERNAL'));
          assert.deepEqual(await readdir(folder), []);
        }
      }),
    ),
    { numRuns: 100 },
  ));

test('every beginning of a name – is a valid prefix', () => {
  const part = fc.stringMatching(/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,8}$/);
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), fc.nat(40), (parts, length) => {
      const name = parts.join('/');
      assert.ok(isObjectName(name));
      assertPrefix(name.slice(0, length));
    }),
  );
});
