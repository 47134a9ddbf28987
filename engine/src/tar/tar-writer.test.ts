import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { TarReader } from './tar-reader.ts';
import { writeTar } from './tar-writer.ts';

const files = [
  { path: 'a/empty', content: new Uint8Array(0) },
  { path: `${'long/'.repeat(20)}name-${'x'.repeat(80)}`, content: Buffer.alloc(512, 'x') },
  { path: 'a/text', content: Buffer.from('häßlich\n') },
];

test('what was written – comes back by our reader, and by tar', () => {
  const tar = writeTar(files);
  const found: { path: string; content: Buffer }[] = [];
  const reader = new TarReader({
    entry: ({ path }) => found.push({ path, content: Buffer.alloc(0) }),
    data: (bytes) => {
      const last = found.at(-1)!;
      last.content = Buffer.concat([last.content, bytes]);
    },
    entryEnd: () => undefined,
  });
  reader.push(tar);
  reader.end();
  assert.deepEqual(
    found,
    files.map(({ path, content }) => ({ path, content: Buffer.from(content) })),
  );
  const listed = execFileSync('tar', ['-tf', '-'], { input: tar, encoding: 'utf8' });
  assert.deepEqual(
    listed.trim().split('\n'),
    files.map(({ path }) => path),
  );
  assert.equal(execFileSync('tar', ['-xOf', '-', 'a/text'], { input: tar, encoding: 'utf8' }), 'häßlich\n');
});

test('the same files – the same bytes', () => {
  assert.deepEqual(writeTar(files), writeTar(files));
});

test('a path that does not fit – refused, not cut', () => {
  assert.throws(() => writeTar([{ path: 'x'.repeat(101), content: new Uint8Array(0) }]), /too long/);
});
