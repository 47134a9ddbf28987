import assert from 'node:assert/strict';
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
import { test } from 'node:test';
import { replaceFile } from './replace-file.ts';

test('a file replaced – another one with its mode and owner; a link stays one; nothing else is left', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'hv-replace-'));
  t.after(() => rm(folder, { recursive: true }));
  const [file, link] = [join(folder, 'file'), join(folder, 'link')];
  await writeFile(file, 'old');
  await chmod(file, 0o664);
  const asRoot = process.getuid?.() === 0;
  if (asRoot) await chown(file, 12, 34);
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
