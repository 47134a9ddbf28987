/** What a command loads before it works: each module takes part of a millisecond, some packages a hundred of them. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const main = fileURLToPath(new URL('../main.ts', import.meta.url));
const counter = `
  import { registerHooks } from 'node:module';
  const seen = [];
  registerHooks({ load(url, context, next) { seen.push(url); return next(url, context); } });
  process.on('exit', () => process.stderr.write('loaded:' + JSON.stringify(seen)));`;

async function loadedBy(...words: string[]): Promise<string[]> {
  const hook = `data:text/javascript,${encodeURIComponent(counter)}`;
  const { stderr } = await promisify(execFile)(process.execPath, ['--import', hook, main, ...words], {
    maxBuffer: 16 << 20,
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  return JSON.parse(/loaded:(.*)$/s.exec(stderr)![1]!) as string[];
}

for (const [words, most] of [
  [['--version'], 250],
  [['list', '--help'], 520],
  [['backup', '--help'], 580],
] as const) {
  test(`helvino ${words.join(' ')} – loads only what it needs`, async () => {
    const loaded = await loadedBy(...words);
    const heavy = loaded.filter((url) =>
      /node_modules\/(dockerode|ssh2|@aws-sdk|@grpc|age-encryption)\//.test(url),
    );
    assert.deepEqual(heavy, []);
    assert.ok(loaded.length < most, `${loaded.length} modules`);
    assert.ok(loaded.length > 20, 'the hook counts');
  });
}
