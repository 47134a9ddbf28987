/** What a command loads before it works: each module takes part of a millisecond, some packages a hundred of them. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const main = fileURLToPath(new URL('../main.ts', import.meta.url));
const counter = `
  import { registerHooks } from 'node:module';
  const seen = [];
  registerHooks({ load(url, context, next) { seen.push(url); return next(url, context); } });
  process.on('exit', () => process.stderr.write('loaded:' + JSON.stringify(seen)));`;
const hook = `data:text/javascript,${encodeURIComponent(counter)}`;

let home: string;

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'hv-start-'));
  await loadedBy('init', '--no-check', '--url', 'postgresql://127.0.0.1:1/x', '--path', 'repository');
});

after(() => rm(home, { recursive: true, force: true }));

/** Of our own, and of packages. */
async function loadedBy(...words: string[]): Promise<string[]> {
  const { HELVINO_CONFIG: _, ...env } = process.env;
  const { stderr } = await promisify(execFile)(process.execPath, ['--import', hook, main, ...words], {
    cwd: home,
    maxBuffer: 16 << 20,
    env: { ...env, NODE_OPTIONS: '' },
  });
  const loaded = JSON.parse(/loaded:(.*)$/s.exec(stderr)![1]!) as string[];
  return loaded.filter((url) => url.startsWith('file:'));
}

const s3AndDocker = /node_modules\/(dockerode|ssh2|@aws-sdk|@smithy|@grpc|age-encryption)\//;
const servers = /node_modules\/pg\/|\/src\/(postgres|tar)\//;
const configuration = /node_modules\/(zod|yaml)\//;

for (const { words, most, without } of [
  { words: ['--version'], most: 60, without: [s3AndDocker, servers, configuration, /\/src\/operations\//] },
  { words: ['version'], most: 60, without: [s3AndDocker, servers, configuration, /\/src\/operations\//] },
  { words: ['list'], most: 330, without: [s3AndDocker, servers] },
  {
    words: ['backup', '--help'],
    most: 540,
    without: [s3AndDocker, /\/operations\/(logical|volume|drill\/report|rescue|restore)\//],
  },
  {
    words: ['wal', 'stream', '--help'],
    most: 540,
    without: [s3AndDocker, /\/operations\/(drill\/report|restore)\//],
  },
]) {
  test(`helvino ${words.join(' ')} – loads only what it needs`, async () => {
    const loaded = await loadedBy(...words);
    for (const what of without)
      assert.deepEqual(
        loaded.filter((url) => what.test(url)),
        [],
      );
    assert.ok(loaded.length < most, `${loaded.length} modules`);
    assert.ok(loaded.length > 10, 'the hook counts');
  });
}
