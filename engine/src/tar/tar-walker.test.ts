import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { TarWalker, type WalkedEntry } from './index.ts';

const long = `${'deep-folder/'.repeat(14)}ünïcode-${'x'.repeat(120)}`;

/** What the system's tar makes of some files, in one of its formats. */
async function archive(format: string): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'hv-walk-'));
  try {
    await mkdir(join(folder, 'in', long, '..'), { recursive: true });
    await writeFile(join(folder, 'in', long), 'long name');
    await writeFile(join(folder, 'in/big'), Buffer.alloc(70_000, 'b'));
    await writeFile(join(folder, 'in/empty'), '');
    await symlink('big', join(folder, 'in/link'));
    const args = ['-C', folder, '-c', '-f', join(folder, 'a.tar'), `--format=${format}`, '--sort=name', 'in'];
    await promisify(execFile)('tar', args);
    const { readFile } = await import('node:fs/promises');
    return await readFile(join(folder, 'a.tar'));
  } finally {
    await rm(folder, { recursive: true });
  }
}

function walk(
  bytes: Uint8Array,
  piece: number,
): { entries: WalkedEntry[]; contents: Map<string, number>; end: () => void } {
  const entries: WalkedEntry[] = [];
  const contents = new Map<string, number>();
  const walker = new TarWalker({
    entry: (entry) => entries.push(entry),
    data: (data) => {
      const { path } = entries.at(-1)!;
      contents.set(path, (contents.get(path) ?? 0) + data.length);
    },
  });
  for (let at = 0; at < bytes.length; at += piece) walker.push(bytes.subarray(at, at + piece));
  return { entries, contents, end: () => walker.end() };
}

for (const format of ['gnu', 'pax']) {
  test(`an archive of the format ${format}, in pieces of any size – long names, links and contents`, async () => {
    const bytes = await archive(format);
    for (const piece of [1, 511, 4096, bytes.length]) {
      const { entries, contents, end } = walk(bytes, piece);
      end();
      const files = entries
        .filter((entry) => entry.type !== '5')
        .map((e) => [e.path, e.type, e.size, e.linkTarget]);
      assert.deepEqual(files, [
        ['in/big', '0', 70_000, ''],
        [`in/${long}`, '0', 9, ''],
        ['in/empty', '0', 0, ''],
        ['in/link', '2', 0, 'big'],
      ]);
      assert.deepEqual(
        [...contents],
        [
          ['in/big', 70_000],
          [`in/${long}`, 9],
        ],
      );
    }
  });
}

test('an archive that breaks off anywhere – no archive', async () => {
  const bytes = await archive('pax');
  const whole = bytes.length;
  // tar fills the last record with zeroes: the end mark is its first two blocks.
  const endMark = bytes.lastIndexOf(Buffer.from('link')) + 512;
  for (let cut = 0; cut < endMark && cut < whole; cut += 337) {
    assert.throws(
      () => walk(bytes.subarray(0, cut), 4096).end(),
      { code: 'PROTOCOL' },
      `cut at ${cut} of ${whole}`,
    );
  }
});

test('a changed header – refused', async () => {
  const bytes = await archive('gnu');
  bytes[3]! ^= 1;
  assert.throws(() => walk(bytes, 4096), { code: 'PROTOCOL', message: /checksum/ });
});
