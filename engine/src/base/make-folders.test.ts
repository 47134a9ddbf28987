import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFolders } from './make-folders.ts';

test('folders in folders – all are made, the topmost new one is told; what cannot be comes to an end', async (t) => {
  const top = await mkdtemp(join(tmpdir(), 'hv-folders-'));
  t.after(() => rm(top, { recursive: true }));
  assert.equal(await makeFolders(join(top, 'a', 'b', 'c'), 0o700), join(top, 'a'));
  assert.equal((await stat(join(top, 'a', 'b', 'c'))).mode & 0o777, 0o700);
  assert.equal(await makeFolders(join(top, 'a', 'b', 'd'), 0o700), join(top, 'a', 'b', 'd'));
  assert.equal(await makeFolders(join(top, 'a'), 0o700), undefined);
  await writeFile(join(top, 'file'), '');
  await symlink('nowhere', join(top, 'link'));
  for (const [path, code] of [
    [join(top, 'file'), 'EEXIST'],
    [join(top, 'file', 'x'), 'ENOTDIR'],
    [join(top, 'link', 'x'), 'ENOENT'],
    ['/proc/no/such', 'ENOENT'],
  ] as const)
    await assert.rejects(makeFolders(path, 0o700), { code }, path);
});
