/** What the machine refuses: space and rights. Needs root, to mount a small file system and to give up rights. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, chown, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { openFsDriver } from './index.ts';
import { hasCode, namesOf, patterned, text } from './testing/contract-tools.ts';
import { runStorageChild } from './testing/run-storage-child.ts';
import { inFolder } from './testing/temporary-folder.ts';

const once = { ifAbsent: true };
const isRoot = process.getuid?.() === 0;
const nobody = 65534;
const skipRights = isRoot ? false : 'needs root, to start a process as another user';

async function withSmallDisk(use: (root: string) => Promise<void>): Promise<void> {
  await inFolder(async (folder) => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder]);
    try {
      await use(folder);
    } finally {
      execFileSync('umount', [folder]);
    }
  });
}

function cannotMount(): string | false {
  if (!isRoot || process.platform !== 'linux') return 'needs root on Linux, to mount a small tmpfs';
  try {
    execFileSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'], { stdio: 'pipe' });
    return false;
  } catch {
    return 'this machine does not let root mount a tmpfs (a container?)';
  }
}

test(
  'a disk that fills up during a put – STORAGE_FULL, nothing is left behind, smaller objects still fit',
  { skip: cannotMount() },
  () =>
    withSmallDisk(async (root) => {
      const driver = await openFsDriver({ root });
      await driver.put('a/small', [patterned(1 << 20, 1)], once);
      const big = Array.from({ length: 16 }, (_, n) => patterned(1 << 20, n));
      await assert.rejects(driver.put('a/big', big, once), hasCode('STORAGE_FULL'));
      assert.deepEqual(await namesOf(driver, ''), ['a/small']);
      assert.deepEqual(await readdir(join(root, '.tmp')), []);
      await driver.put('a/next', big.slice(0, 6), once);
      assert.equal((await driver.get('a/next')).length, 6 << 20);
    }),
);

test(
  'the disk is unmounted while the store is open – STORAGE_UNAVAILABLE, nothing goes to the disk below',
  { skip: cannotMount() },
  () =>
    inFolder(async (root) => {
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', root]);
      let mounted = true;
      try {
        const driver = await openFsDriver({ root });
        await driver.put('x', [text('x')], once);
        execFileSync('umount', [root]);
        mounted = false;
        await assert.rejects(driver.head('x'), hasCode('STORAGE_UNAVAILABLE'));
        await assert.rejects(driver.put('y', [text('y')], once), hasCode('STORAGE_UNAVAILABLE'));
        assert.deepEqual(await readdir(root), []);
      } finally {
        if (mounted) execFileSync('umount', [root]);
      }
    }),
);

test(
  'a user without rights – STORAGE_DENIED for each call, never "no such object"',
  { skip: skipRights },
  () =>
    inFolder(async (folder) => {
      const root = join(folder, 'store');
      const driver = await openFsDriver({ root });
      await driver.put('a/x', [text('x')], once);
      await chmod(folder, 0o755);
      const steps = [
        ['put', 'b', 'x'],
        ['get', 'a/x'],
        ['get', 'a/none'],
        ['remove', 'a/x'],
        ['now'],
      ] as const;
      const closed = await runStorageChild({ root, steps, uid: nobody });
      assert.deepEqual(
        closed.outcomes,
        steps.map(() => 'STORAGE_DENIED'),
      );
      for (const path of [root, join(root, 'a'), join(root, '.tmp')]) await chmod(path, 0o755);
      const readable = await runStorageChild({ root, steps, uid: nobody });
      const denied = 'STORAGE_DENIED';
      assert.deepEqual(readable.outcomes, [denied, denied, 'STORAGE_NOT_FOUND', denied, denied]);
      assert.deepEqual(await namesOf(driver, ''), ['a/x']);
      assert.deepEqual(await readdir(join(root, '.tmp')), []);
    }),
);

test(
  'a store that a user may write only in part – refused where it may not, works where it may',
  { skip: skipRights },
  () =>
    inFolder(async (root) => {
      await chmod(root, 0o755);
      await mkdir(join(root, 'shut'));
      for (const path of ['.tmp', 'open']) {
        await mkdir(join(root, path), { recursive: true });
        await chown(join(root, path), nobody, nobody);
      }
      const steps = [
        ['put', 'shut/x', 'x'],
        ['put', 'open/x', 'x'],
        ['put', 'new/x', 'x'],
      ] as const;
      const { outcomes } = await runStorageChild({ root, steps, uid: nobody });
      assert.deepEqual(outcomes, ['STORAGE_DENIED', 'ok', 'STORAGE_DENIED']);
      assert.deepEqual(await readdir(join(root, '.tmp')), []);
      assert.deepEqual(await namesOf(await openFsDriver({ root }), ''), ['open/x']);
    }),
);
