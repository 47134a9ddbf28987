import assert from 'node:assert/strict';
import {
  chmod,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { ErrorCode } from '../base/error-codes.ts';
import { HelvinoError } from '../base/errors.ts';
import type { FsPoint } from './fs-hooks.ts';
import { openFsDriver, openMemoryDriver, type StorageDriver } from './index.ts';
import { hasCode, namesOf, text } from './testing/contract-tools.ts';
import { faultHooks } from './testing/faulty-driver.ts';
import { runStorageChild } from './testing/run-storage-child.ts';
import { inFolder } from './testing/temporary-folder.ts';

const once = { ifAbsent: true };
const temporaries = (root: string) => readdir(join(root, '.tmp')).catch(() => []);

test('files and folders of the store – can be read by their owner alone', () =>
  inFolder(async (folder) => {
    const root = join(folder, 'not', 'yet');
    const driver = await openFsDriver({ root });
    await driver.put('a/b/c', [text('x')], once);
    for (const name of ['', 'a', 'a/b', '.tmp'])
      assert.equal((await stat(join(root, name))).mode & 0o777, 0o700, name);
    assert.equal((await stat(join(root, 'a/b/c'))).mode & 0o777, 0o600);
    assert.equal(driver.capabilities.place, root);
  }));

test('a put – syncs the file before it gets its name, then every folder that may be new', () =>
  inFolder(async (root) => {
    const hooks = faultHooks({});
    const driver = await openFsDriver({ root, hooks });
    const pointsOf = async (work: () => Promise<void>): Promise<FsPoint[]> => {
      const from = hooks.seen.length;
      await work();
      return hooks.seen.slice(from);
    };
    const write: FsPoint[] = [
      'put.open',
      'put.write',
      'put.write-rest',
      'put.sync',
      'put.link',
      'put.unlink',
      'folder.sync',
    ];
    await driver.put('first', [], once);
    assert.deepEqual(await pointsOf(() => driver.put('a/b/x', [text('12')], once)), [
      'folder.make',
      'folder.make',
      ...write,
      'folder.sync-parent',
      'folder.sync-parent',
      'put.done',
    ]);
    // The folders are known to be durable.
    assert.deepEqual(await pointsOf(() => driver.put('a/b/y', [text('12')], once)), [...write, 'put.done']);
    // Another process removes them as empty, and a third makes them anew.
    await rm(join(root, 'a'), { recursive: true });
    await mkdir(join(root, 'a/b'), { recursive: true });
    assert.deepEqual(await pointsOf(() => driver.put('a/b/y', [text('12')], once)), [
      ...write,
      'folder.sync-parent',
      'folder.sync-parent',
      'put.done',
    ]);
  }));

test('a put that resolved – has called fsync on the file before its name, and on each folder after it', (t) =>
  inFolder(async (root) => {
    const order: string[] = [];
    const driver = await openFsDriver({ root, hooks: { point: (name) => void order.push(name) } });
    await driver.put('first', [], once);
    const file = await open(join(root, 'first'));
    const prototype = Object.getPrototypeOf(file) as typeof file;
    const sync = prototype.sync;
    t.mock.method(prototype, 'sync', async function (this: typeof file) {
      const path = await readlink(`/proc/self/fd/${this.fd}`);
      order.push(`fsync ${path.includes('.tmp') ? 'file' : `/${path.slice(root.length + 1)}`}`);
      return sync.call(this);
    });
    order.length = 0;
    await driver.put('a/b/x', [text('content')], once);
    await driver.remove('a/b/x');
    await file.close();
    assert.deepEqual(
      order.filter((step) => /fsync|link|done/.test(step)),
      [
        'fsync file',
        'put.link',
        'put.unlink',
        'fsync /a/b',
        'fsync /a',
        'fsync /',
        'put.done',
        'remove.unlink',
        'fsync /',
        'remove.done',
      ],
    );
  }));

test('an object that another run has named but not yet synced – is synced before STORAGE_EXISTS is said', () =>
  inFolder(async (root) => {
    await mkdir(join(root, 'a'), { recursive: true });
    await writeFile(join(root, 'a/x'), 'x');
    const hooks = faultHooks({});
    const driver = await openFsDriver({ root, hooks });
    await assert.rejects(driver.put('a/x', [text('x')], once), hasCode('STORAGE_EXISTS'));
    assert.deepEqual(hooks.seen, ['folder.sync', 'folder.sync-parent']);
  }));

test('a link that was made but answered by EEXIST, as NFS does – the put succeeds', () =>
  inFolder(async (root) => {
    const point = async (name: FsPoint) => {
      if (name === 'put.link') await link(join(root, '.tmp', (await temporaries(root))[0]!), join(root, 'x'));
    };
    const driver = await openFsDriver({ root, hooks: { point } });
    await driver.put('x', [text('content')], once);
    assert.equal(await readFile(join(root, 'x'), 'utf8'), 'content');
    assert.deepEqual(await temporaries(root), []);
  }));

const errnos: readonly [string, ErrorCode][] = [
  ['EACCES', 'STORAGE_DENIED'],
  ['EROFS', 'STORAGE_DENIED'],
  ['ENOSPC', 'STORAGE_FULL'],
  ['EDQUOT', 'STORAGE_FULL'],
  ['EIO', 'STORAGE_IO'],
  ['ENOMEM', 'STORAGE_IO'],
  ['ESTALE', 'STORAGE_UNAVAILABLE'],
  ['ETIMEDOUT', 'STORAGE_UNAVAILABLE'],
  ['EMFILE', 'STORAGE_UNAVAILABLE'],
];

describe('a put that fails half-way', () => {
  for (const [errno, code] of errnos) {
    test(`by ${errno} at any step before the name – ${code}, nothing stored, no temporary file, the next put works`, () =>
      inFolder(async (root) => {
        for (const point of ['put.open', 'put.write', 'put.write-rest', 'put.sync', 'put.link'] as const) {
          const driver = await openFsDriver({
            root,
            hooks: faultHooks({ points: [{ point, nth: 1, errno }] }),
          });
          await assert.rejects(driver.put('a/x', [text('half'), text('half')], once), (thrown: unknown) => {
            assert.ok(thrown instanceof HelvinoError);
            assert.equal(thrown.code, code);
            assert.ok(thrown.message.includes('a/x') && thrown.message.includes(root), thrown.message);
            assert.ok((thrown.hint ?? '').length > 0);
            return true;
          });
          assert.deepEqual(await namesOf(driver, ''), []);
          assert.deepEqual(await temporaries(root), []);
          await driver.put('a/x', [text('whole')], once);
          await driver.remove('a/x');
        }
      }));
  }
});

test('symbolic links inside the store – are never written through, read or listed', () =>
  inFolder(async (folder) => {
    const [root, outside] = [join(folder, 'root'), join(folder, 'outside')];
    await mkdir(join(root, 'a'), { recursive: true });
    await mkdir(outside);
    await writeFile(join(outside, 'secret'), 'secret');
    await symlink(outside, join(root, 'packs'));
    await symlink(join(outside, 'secret'), join(root, 'a/file'));
    const driver = await openFsDriver({ root });
    await assert.rejects(driver.put('packs/x', [text('x')], once), hasCode('STORAGE_DENIED'));
    await assert.rejects(driver.put('packs/x', [text('x')], { ifAbsent: false }), hasCode('STORAGE_DENIED'));
    await assert.rejects(driver.remove('packs/secret'), hasCode('STORAGE_DENIED'));
    await assert.rejects(driver.put('a/file', [text('x')], once), hasCode('STORAGE_DENIED'));
    await assert.rejects(driver.get('a/file'), hasCode('STORAGE_NOT_FOUND'));
    assert.equal(await driver.head('a/file'), undefined);
    await driver.put('a/file', [text('own')], { ifAbsent: false });
    assert.deepEqual(await namesOf(driver, ''), ['a/file']);
    assert.deepEqual(await readdir(outside), ['secret']);
    assert.equal(await readFile(join(outside, 'secret'), 'utf8'), 'secret');
  }));

test('.tmp is a symbolic link – nothing is written there', () =>
  inFolder(async (folder) => {
    const [root, outside] = [join(folder, 'root'), join(folder, 'outside')];
    await mkdir(root);
    await mkdir(outside);
    await symlink(outside, join(root, '.tmp'));
    const driver = await openFsDriver({ root });
    await assert.rejects(driver.put('x', [text('x')], once), hasCode('STORAGE_DENIED'));
    await assert.rejects(driver.now(), hasCode('STORAGE_DENIED'));
    assert.deepEqual(await readdir(outside), []);
  }));

test('the root vanishes or is another folder, as after an unmount – STORAGE_UNAVAILABLE, never "no such object"', () =>
  inFolder(async (folder) => {
    const root = join(folder, 'root');
    const driver = await openFsDriver({ root });
    await driver.put('a/x', [text('x')], once);
    await rename(root, join(folder, 'elsewhere'));
    const assertAway = async () => {
      const away = hasCode('STORAGE_UNAVAILABLE');
      await assert.rejects(driver.get('a/x'), away);
      await assert.rejects(driver.head('a/x'), away);
      await assert.rejects(namesOf(driver, ''), away);
      await assert.rejects(driver.put('a/y', [text('y')], once), away);
      await assert.rejects(driver.remove('a/x'), away);
      await assert.rejects(driver.now(), away);
    };
    await assertAway();
    await mkdir(root);
    await assertAway();
    assert.deepEqual(await readdir(root), []);
    await rm(root, { recursive: true });
    await rename(join(folder, 'elsewhere'), root);
    assert.equal((await driver.get('a/x')).length, 1);
  }));

test('a root that another run makes after we opened it – is ours as well', () =>
  inFolder(async (folder) => {
    const root = join(folder, 'root');
    const [one, other] = [await openFsDriver({ root }), await openFsDriver({ root })];
    assert.deepEqual(await namesOf(one, ''), []);
    await other.put('x', [text('x')], once);
    assert.deepEqual(await namesOf(one, ''), ['x']);
    await one.put('y', [text('y')], once);
    await assert.rejects(openFsDriver({ root: join(root, 'x') }), hasCode('STORAGE_DENIED'));
  }));

test('a file where a folder is needed, a folder where an object is to be – refused, never "it exists": that is taken for stored', () =>
  inFolder(async (root) => {
    await writeFile(join(root, 'keys'), '');
    await mkdir(join(root, 'a/b'), { recursive: true });
    const driver = await openFsDriver({ root });
    for (const name of ['keys/data/x', 'keys/x', 'a/b', 'a'])
      for (const ifAbsent of [true, false])
        await assert.rejects(driver.put(name, [text('x')], { ifAbsent }), hasCode('STORAGE_DENIED'), name);
    assert.deepEqual(await namesOf(driver, ''), ['keys']);
    assert.deepEqual(await temporaries(root), []);
  }));

test('what is no object (lost+found, leftovers of NFS, empty folders) – is not listed', () =>
  inFolder(async (root) => {
    const driver = await openFsDriver({ root });
    await driver.put('a/x', [], once);
    await mkdir(join(root, 'lost+found'));
    await chmod(join(root, 'lost+found'), 0);
    await writeFile(join(root, 'a/.nfs000000000001'), '');
    await mkdir(join(root, 'a/empty'));
    assert.deepEqual(await namesOf(driver, ''), ['a/x']);
  }));

test('temporary files at opening – swept when their writer is dead, or unknown for a day; a living one keeps its own', () =>
  inFolder(async (root) => {
    const killed = await runStorageChild({
      root,
      steps: [['put', 'x', 'content']],
      plan: { points: [{ point: 'put.sync', nth: 1, kill: true }] },
    });
    assert.equal(killed.signal, 'SIGKILL');
    const [dead] = await temporaries(root);
    assert.ok(dead, 'the crash left its file');
    const place = dead.split('-')[2]!;
    const start = (await readFile('/proc/self/stat', 'latin1')).split(') ').pop()!.split(' ')[19]!;
    const alive = `${process.pid}-${start}-${place}-00`;
    const reused = `${process.pid}-1-${place}-00`;
    const elsewhere = `1-1-${'0'.repeat(16)}`;
    const age = async (name: string, hours: number) => {
      const date = new Date(Date.now() - hours * 3_600_000);
      await writeFile(join(root, '.tmp', name), '');
      await utimes(join(root, '.tmp', name), date, date);
    };
    for (const [name, hours] of [
      [alive, 99],
      [reused, 0],
      [`${elsewhere}-new`, 23],
      [`${elsewhere}-old`, 25],
      ['foreign', 25],
    ] as const) {
      await age(name, hours);
    }
    await openFsDriver({ root });
    assert.deepEqual((await temporaries(root)).sort(), [alive, `${elsewhere}-new`].sort());
  }));

test('a temporary file that is swept under its writer – the put fails, nothing is stored', () =>
  inFolder(async (root) => {
    const point = async (name: FsPoint) => {
      if (name === 'put.link') await rm(join(root, '.tmp'), { recursive: true, force: true });
    };
    const driver = await openFsDriver({ root, hooks: { point } });
    await assert.rejects(driver.put('x', [text('x')], once), hasCode('STORAGE_UNAVAILABLE'));
    assert.deepEqual(await namesOf(driver, ''), []);
  }));

const operation = fc.record({
  action: fc.constantFrom('put', 'put', 'put', 'replace', 'get', 'range', 'head', 'list', 'remove', 'remove'),
  name: fc.constantFrom('a', 'a/b', 'a/b/c', 'a/b-c', 'a-b', 'a.b/c', 'a/b/c/d', 'b', 'b/x', 'b/y'),
  content: fc.string({ maxLength: 20, unit: 'grapheme-ascii' }),
  offset: fc.nat(12),
  length: fc.nat(12),
});
type Operation = typeof operation extends fc.Arbitrary<infer Value> ? Value : never;

test('any sequence of calls – the file system gives the same results as memory', () =>
  fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 40 }), (operations) =>
      inFolder(async (root) => {
        const [disk, memory] = [await openFsDriver({ root }), openMemoryDriver()];
        for (const one of operations) assert.deepEqual(await outcome(disk, one), await outcome(memory, one));
        assert.deepEqual(await temporaries(root), []);
      }),
    ),
    { numRuns: 60 },
  ));

async function outcome(
  driver: StorageDriver,
  { action, name, content, offset, length }: Operation,
): Promise<unknown> {
  try {
    if (action === 'put') return await driver.put(name, [text(content)], once);
    if (action === 'replace') return await driver.put(name, [text(content)], { ifAbsent: false });
    if (action === 'get') return Buffer.from(await driver.get(name)).toString();
    if (action === 'range') return Buffer.from(await driver.get(name, { offset, length })).toString();
    if (action === 'head') return (await driver.head(name))?.size;
    if (action === 'list') return await namesOf(driver, name);
    return await driver.remove(name);
  } catch (thrown) {
    return (thrown as HelvinoError).code;
  }
}
