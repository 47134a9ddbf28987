import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { syncFolder, syncPath } from './sync-path.ts';

test('a file in a folder’s place – an error where a folder is meant', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hv-sync-'));
  try {
    const file = join(folder, 'file');
    await writeFile(file, 'x');
    await syncFolder(folder);
    await syncPath(folder);
    await syncPath(file);
    await assert.rejects(syncFolder(file), { code: 'ENOTDIR' });
    await assert.rejects(syncFolder(join(folder, 'gone')), { code: 'ENOENT' });
  } finally {
    await rm(folder, { recursive: true });
  }
});
