import assert from 'node:assert/strict';
import { test } from 'node:test';
import { remoteAddress } from './program-source.ts';

test('where a checkout came from – addresses that others reach, without secrets', () => {
  assert.equal(remoteAddress('https://git.example.com/helvino.git'), 'https://git.example.com/helvino.git');
  assert.equal(remoteAddress('https://me:token@git.example.com/helvino'), 'https://git.example.com/helvino');
  assert.equal(remoteAddress('ssh://git@git.example.com/helvino'), 'ssh://git@git.example.com/helvino');
  assert.equal(remoteAddress('git@git.example.com:team/helvino.git'), 'git@git.example.com:team/helvino.git');
  for (const local of ['/srv/git/helvino', '../helvino', 'file:///srv/helvino', 'C:\\helvino', ''])
    assert.equal(remoteAddress(local), undefined, local);
});
