import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { alignedMemory, copyBytes, directAlignment, isAligned } from '../base/aligned-memory.ts';
import { openFsDriver } from './index.ts';
import { inFolder } from './testing/temporary-folder.ts';

const capacity = 3 << 20;
const lengths = [0, 1, 511, 256 << 10, (256 << 10) + 1, (1 << 20) + 4095, 2 << 20, capacity];

function filled(): Uint8Array {
  const bytes = new Uint8Array(alignedMemory(capacity + 2 * directAlignment));
  randomFillSync(Buffer.from(bytes.buffer));
  return bytes;
}

test('aligned memory – is at a page as the kernel sees it: a file opened with O_DIRECT takes it', (t) =>
  inFolder(async (root) => {
    const bytes = filled();
    assert.equal(isAligned(bytes), true);
    assert.equal(isAligned(bytes.subarray(512)), false);
    assert.equal(isAligned(new Uint8Array(new SharedArrayBuffer(directAlignment))), false);
    const flags = constants.O_CREAT | constants.O_WRONLY | constants.O_DIRECT;
    await using file = await open(join(root, 'direct'), flags).catch(() => undefined);
    if (file === undefined) return t.skip('the file system knows no O_DIRECT');
    assert.equal((await file.write(bytes, 0, 1 << 20, 0)).bytesWritten, 1 << 20);
  }));

test('objects of every length, from and into aligned memory – are what was put', () =>
  inFolder(async (root) => {
    const driver = await openFsDriver({ root });
    const source = filled();
    const into = new Uint8Array(alignedMemory(capacity));
    for (const length of lengths)
      for (const start of [0, directAlignment, 1]) {
        const name = `a/${length}-${start}`;
        const head = source.subarray(start, start + length);
        const tail = Buffer.from('the end');
        await driver.put(name, [head, tail], { ifAbsent: true });
        const whole = Buffer.concat([head, tail]);
        assert.deepEqual(await readFile(join(root, name)), whole, name);
        assert.equal((await driver.head(name))?.size, whole.length);
        for (const offset of [0, directAlignment, 7].filter((at) => at < length)) {
          const range = { offset, length: length - offset };
          const got = await driver.get(name, range, into);
          assert.equal(Buffer.compare(got, whole.subarray(offset, length)), 0, `${name} from ${offset}`);
        }
      }
  }));

test('a file system in memory – takes aligned bytes, whether it knows O_DIRECT or not', async (t) => {
  const memory = await mkdtemp('/dev/shm/helvino-direct-').catch(() => undefined);
  if (memory === undefined) return t.skip('there is no /dev/shm');
  t.after(() => rm(memory, { recursive: true, force: true }));
  const driver = await openFsDriver({ root: memory });
  const source = filled();
  await driver.put('x', [source.subarray(0, capacity)], { ifAbsent: true });
  assert.equal(Buffer.compare(await readFile(join(memory, 'x')), source.subarray(0, capacity)), 0);
  const got = await driver.get('x', { offset: 0, length: capacity }, new Uint8Array(alignedMemory(capacity)));
  assert.equal(Buffer.compare(got, source.subarray(0, capacity)), 0);
});

test('an object changed on the disk behind a cached one – is read as it is now', () =>
  inFolder(async (root) => {
    const driver = await openFsDriver({ root });
    const source = filled();
    await driver.put('x', [source.subarray(0, capacity)], { ifAbsent: true });
    const path = join(root, 'x');
    await readFile(path);
    await chmod(path, 0o600);
    await using file = await open(path, 'r+');
    await file.write(Buffer.from('changed'), 0, 7, 1 << 20);
    const got = await driver.get(
      'x',
      { offset: 0, length: capacity },
      new Uint8Array(alignedMemory(capacity)),
    );
    assert.equal(Buffer.from(got.subarray(1 << 20, (1 << 20) + 7)).toString(), 'changed');
  }));

test('copies to shared memory – are those of set, at every place', () => {
  const to = new Uint8Array(new SharedArrayBuffer(100));
  const like = new Uint8Array(100);
  const from = Uint8Array.from({ length: 40 }, (_, i) => i + 1);
  for (const at of [0, 1, 33, 60]) {
    copyBytes(from.subarray(at % 7), to, at);
    like.set(from.subarray(at % 7), at);
    assert.deepEqual(Uint8Array.from(to), like);
  }
});
