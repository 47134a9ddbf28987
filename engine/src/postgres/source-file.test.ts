import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fetcher } from './fetch-file.ts';
import { openSourceFile } from './source-file.ts';

let home: string;
const own = process.geteuid!();

before(() => {
  home = mkdtempSync(join(tmpdir(), 'hv-source-'));
  writeFileSync(join(home, 'file'), 'content');
  symlinkSync(join(home, 'file'), join(home, 'link'));
  execFileSync('mkfifo', [join(home, 'pipe')]);
  mkdirSync(join(home, 'folder'));
});

after(() => rmSync(home, { recursive: true }));

const refused = (name: string, owner: number | undefined, why: RegExp) =>
  assert.throws(() => openSourceFile(join(home, name), owner), { code: 'SOURCE_UNREADABLE', message: why });

test('a plain file of the owner – it is open', () => {
  for (const owner of [undefined, own]) {
    const { fd, stat } = openSourceFile(join(home, 'file'), owner)!;
    assert.deepEqual([stat.size, readFileSync(fd, 'utf8')], [7, 'content']);
    closeSync(fd);
  }
});

test('a file that is gone – undefined', () => {
  assert.equal(openSourceFile(join(home, 'gone'), undefined), undefined);
});

test('a link, a pipe, a folder, the file of another user – SOURCE_UNREADABLE says which, and nothing waits', () => {
  refused('link', undefined, /link cannot be read: ELOOP$/);
  refused('pipe', undefined, /pipe cannot be read: it is no plain file$/);
  refused('folder', undefined, /no plain file$/);
  refused('file', own + 1, new RegExp(`it belongs to user ${own}, the server is run by ${own + 1}$`));
});

test('a page that looks wrong, of a file that became a link or another user’s – it is not read again', () => {
  const page = Buffer.alloc(8192, 7);
  const again = (name: string, owner: number | undefined) => {
    const piece = {
      fd: undefined,
      path: join(home, name),
      owner,
      offset: 0,
      pages: { block: 0, since: 1n << 63n },
    };
    return fetcher({ memory: undefined })({ bytes: page, address: 0 }, piece);
  };
  assert.deepEqual(again('link', undefined), [
    { kind: 'unreadable', path: join(home, 'link'), why: 'ELOOP' },
  ]);
  const [report] = again('file', own + 1);
  assert.match(JSON.stringify(report), /"unreadable".*it belongs to user/);
  assert.deepEqual(page, Buffer.alloc(8192, 7));
});
