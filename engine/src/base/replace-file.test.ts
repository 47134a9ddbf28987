import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { asUser, isRoot } from '../../test/as-user.ts';
import { prepareChange, replaceFile } from './replace-file.ts';

test('a file replaced – another one with its mode and owner; a link stays one; nothing else is left', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'hv-replace-'));
  t.after(() => rm(folder, { recursive: true }));
  const [file, link] = [join(folder, 'file'), join(folder, 'link')];
  await writeFile(file, 'old');
  await chmod(file, 0o664);
  if (isRoot) await chown(file, 12, 34);
  await symlink('file', link);
  const before = await stat(file);
  await replaceFile(link, 'new');
  const after = await stat(file);
  assert.equal(await readFile(file, 'utf8'), 'new');
  assert.deepEqual([after.mode, after.uid, after.gid], [before.mode, before.uid, before.gid]);
  assert.notEqual(after.ino, before.ino);
  assert.ok((await lstat(link)).isSymbolicLink());
  assert.deepEqual((await readdir(folder)).sort(), ['file', 'link']);
});

test('one that cannot be replaced – as it was, and nothing beside it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'hv-replace-'));
  t.after(() => rm(folder, { recursive: true }));
  await mkdir(join(folder, 'file'));
  for (const name of ['file', 'gone'])
    await assert.rejects(replaceFile(join(folder, name), 'new'), { code: 'CONFIG_INVALID' });
  assert.deepEqual(await readdir(folder), ['file']);
});

/** With `file`, which holds `old`: of root and group 34, where the tests run as root. */
async function newFolder(t: TestContext, modes: { readonly folder: number; readonly file: number }) {
  const folder = await mkdtemp(join(tmpdir(), 'hv-replace-'));
  t.after(async () => {
    await chmod(folder, 0o700);
    await rm(folder, { recursive: true });
  });
  const file = join(folder, 'file');
  await writeFile(file, 'old');
  if (isRoot) for (const path of [folder, file]) await chown(path, 0, 34);
  await chmod(file, modes.file);
  await chmod(folder, modes.folder);
  return { folder, file };
}

async function factsOf(file: string) {
  const { uid, gid, mode, ino } = await stat(file);
  return { uid, gid, mode: mode & 0o7777, ino };
}

const helvino = { uid: 23, gid: 34 };
const needsRoot = { skip: !isRoot && 'needs root' };

test(
  "root's file in a folder of our group – replaced: ours, with its group and mode",
  needsRoot,
  async (t) => {
    const { folder, file } = await newFolder(t, { folder: 0o2770, file: 0o660 });
    const before = await stat(file);
    await asUser(helvino, () => replaceFile(file, 'new'));
    const { ino, ...after } = await factsOf(file);
    assert.equal(await readFile(file, 'utf8'), 'new');
    assert.deepEqual(after, { ...helvino, mode: 0o660 });
    assert.notEqual(ino, before.ino);
    assert.deepEqual(await readdir(folder), ['file']);
  },
);

test(
  'a file of a group that we are not in – replaced; its rights do not go to our group',
  needsRoot,
  async (t) => {
    const { file } = await newFolder(t, { folder: 0o777, file: 0o664 });
    const stranger = { uid: 23, gid: 35 };
    await asUser(stranger, () => replaceFile(file, 'new'));
    const { ino: _, ...after } = await factsOf(file);
    assert.deepEqual([await readFile(file, 'utf8'), after], ['new', { ...stranger, mode: 0o604 }]);
  },
);

test('a folder that takes nothing, with a file that may be written – in place; without one nothing is begun', async (t) => {
  const { folder, file } = await newFolder(t, { folder: 0o555, file: 0o660 });
  const before = await factsOf(file);
  for (const text of ['much longer', 'new']) {
    await asUser(helvino, () => replaceFile(file, text));
    assert.equal(await readFile(file, 'utf8'), text);
  }
  assert.deepEqual(await factsOf(file), before);
  await chmod(file, 0o440);
  await asUser(helvino, () => assert.rejects(prepareChange(file, String), { code: 'CONFIG_INVALID' }));
  // Where each keeps his own, as in /tmp.
  if (isRoot) {
    await chmod(folder, 0o1777);
    const stuck = /cannot be changed: this user may neither write to it nor put another/;
    await asUser(helvino, () => assert.rejects(prepareChange(file, String), { message: stuck }));
    await chmod(file, 0o660);
    await asUser(helvino, () => replaceFile(file, 'in place'));
    assert.deepEqual(await factsOf(file), before);
  }
  assert.deepEqual(await readdir(folder), ['file']);
});

test('a change that is not committed, or of what has changed meanwhile – nothing is left of it; nothing is lost', async (t) => {
  const { folder, file } = await newFolder(t, { folder: 0o755, file: 0o644 });
  const add = (text: string) => `${text} and new`;
  {
    await using change = await prepareChange(file, add);
    assert.equal((await readdir(folder)).length, 2);
    assert.ok(change);
  }
  assert.deepEqual([await readFile(file, 'utf8'), await readdir(folder)], ['old', ['file']]);
  {
    await using change = await prepareChange(file, add);
    await writeFile(file, 'other');
    await change.commit();
  }
  assert.deepEqual([await readFile(file, 'utf8'), await readdir(folder)], ['other and new', ['file']]);
});

test('a file that is mounted by itself – in place; on a full disk as it was', async (t) => {
  const { folder, file } = await newFolder(t, { folder: 0o777, file: 0o666 });
  const disk = await mkdtemp(join(tmpdir(), 'hv-replace-disk-'));
  const run = (program: string, ...words: string[]) => spawnSync(program, words).status === 0;
  try {
    if (!run('mount', '-t', 'tmpfs', '-o', 'size=16k', 'none', disk))
      return t.skip('needs the right to mount');
    const [real, filler] = [join(disk, 'real'), join(disk, 'filler')];
    await writeFile(real, 'old');
    assert.ok(run('mount', '--bind', real, file));
    await replaceFile(file, 'new');
    assert.equal(await readFile(real, 'utf8'), 'new');
    await assert.rejects(writeFile(filler, 'x'.repeat(1 << 20)), { code: 'ENOSPC' });
    await assert.rejects(replaceFile(file, 'y'.repeat(8192)), {
      message: /ENOSPC/,
      hint: /^it is as it was/,
    });
    assert.equal(await readFile(file, 'utf8'), 'new');
    assert.deepEqual(await readdir(folder), ['file']);
    await chmod(file, 0o444);
    await asUser(helvino, () =>
      assert.rejects(prepareChange(file, String), { message: /neither write to it/ }),
    );
  } finally {
    run('umount', file);
    run('umount', disk);
    await rm(disk, { recursive: true });
  }
});
