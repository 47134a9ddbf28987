import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { programSource, remoteAddress } from './program-source.ts';

test('where a checkout came from – addresses that others reach, without secrets', () => {
  assert.equal(remoteAddress('https://git.example.com/helvino.git'), 'https://git.example.com/helvino.git');
  assert.equal(remoteAddress('https://me:token@git.example.com/helvino'), 'https://git.example.com/helvino');
  assert.equal(remoteAddress('ssh://git@git.example.com/helvino'), 'ssh://git@git.example.com/helvino');
  assert.equal(remoteAddress('git@git.example.com:team/helvino.git'), 'git@git.example.com:team/helvino.git');
  assert.equal(
    remoteAddress('https://git.example.com/x.git?access_token=secret#secret'),
    'https://git.example.com/x.git',
  );
  for (const local of [
    '/srv/git/helvino',
    '../helvino',
    'file:///srv/helvino',
    'C:\\helvino',
    '-u@host:x',
    '',
  ])
    assert.equal(remoteAddress(local), undefined, local);
});

test('a package within a checkout of its user – not that checkout', async () => {
  const home = await mkdtemp(join(tmpdir(), 'hv-source-'));
  try {
    const git = (...args: string[]) => promisify(execFile)('git', ['-C', home, ...args]);
    await git('init', '-q');
    await git('remote', 'add', 'origin', 'https://git.example.com/infra.git');
    const file = join(home, 'node_modules/helvino/dist/program.js');
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, '');
    assert.equal(await programSource(file), undefined);
    await git('add', '-f', file);
    assert.equal(await programSource(file), 'https://git.example.com/infra.git');
  } finally {
    await rm(home, { recursive: true });
  }
});
