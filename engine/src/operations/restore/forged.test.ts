/** Backups that no server makes, from someone who has the host's keys: a restore must not write outside, nor leave out. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { memoryRepository } from '../../../test/repository-fixture.ts';
import { silentProgress } from '../../base/progress.ts';
import type { FileEntry, Manifest, Repository } from '../../repository/index.ts';
import { hasCode } from '../../storage/testing/contract-tools.ts';
import { layOut } from './lay-out.ts';
import { RestoreIndex } from './restore-index.ts';
import { writePacks } from './write-packs.ts';

const signal = new AbortController().signal;

async function scratch(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'hv-forged-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

function entry(path: string, type: FileEntry['type'], target?: string): FileEntry {
  return { path, type, mode: 0o700, uid: 0, gid: 0, mtime: 0, size: 0, chunkSize: 0, target, extents: [] };
}

for (const link of ['base', 'pg_tblspc', 'pg_tblspc/16390', 'pg_tblspc/1/16384']) {
  test(`a link at ${link} that is no tablespace – refused, nothing is written behind it`, async () => {
    await using inside = await scratch();
    await using outside = await scratch();
    const files = [entry(link, 'symlink', outside.path), entry(`${link}/16384`, 'file')];
    const repository = {
      async *files() {
        yield* files;
      },
    } as unknown as Repository;
    const index = new RestoreIndex();
    const work = layOut({
      repository,
      manifest: { id: 'forged', totals: { files: 2 } } as Manifest,
      directory: inside.path,
      tablespaces: [{ oid: '16384', from: '/old', to: join(inside.path, 'new') }],
      owner: undefined,
      existing: false,
      index,
      progress: silentProgress,
      signal,
    });
    await assert.rejects(work, hasCode('REPOSITORY_DAMAGED'));
    index.close();
    assert.deepEqual(await readdir(outside.path), []);
  });
}

test('a chunk under a key that the manifest does not name – refused, not left out', async () => {
  const { repository, pack } = await memoryRepository();
  const index = new RestoreIndex();
  const file = index.addFile('base/1/2', '/nowhere/base/1/2');
  const chunk = { pack: await pack('a'), keyId: 'f'.repeat(16), index: 0, offset: 0, stored: 6, raw: 6 };
  index.addPiece(file, { chunk, at: 0, start: 0, length: 6 });
  const work = writePacks({
    repository,
    keys: new Map(),
    index,
    compare: false,
    progress: silentProgress,
    signal,
    describe: async (paths) => paths.join(),
  });
  await assert.rejects(work, hasCode('REPOSITORY_DAMAGED'));
  index.close();
});
