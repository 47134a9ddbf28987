/** What `npm pack` makes is put together from the sources; a checkout runs the sources themselves, so only this test sees it. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

/** A package as npm would lay it out: what it depends on is found in folders above. */
async function installed(t: TestContext): Promise<{ folder: string; program: string }> {
  const folder = await mkdtemp(join(root, 'node_modules', '.hv-package-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await chmod(folder, 0o755);
  await run('npm', ['pack', '-w', 'engine', '--pack-destination', folder, '--foreground-scripts=false'], {
    cwd: root,
  });
  const [packed] = await readdir(folder);
  await run('tar', ['-xzf', join(folder, packed!), '-C', folder, '--no-same-owner']);
  return { folder, program: join(folder, 'package/bin/helvino.mjs') };
}

test('the package – has no sources, and its demo --keep leaves a report and a repository that its other commands read', async (t) => {
  const place = await installed(t);
  const files = await readdir(join(place.folder, 'package'), { recursive: true });
  assert.deepEqual(
    files.filter((file) => file.endsWith('.ts')),
    [],
  );
  const { version } = JSON.parse(await readFile(join(root, 'engine/package.json'), 'utf8'));
  for (const node of [process.execPath, 'node']) {
    const said = await run(node, [place.program, '--version']);
    assert.equal(said.stdout.trim(), version);
  }
  // Servers run as another user: they must come to it.
  const temporary = await mkdtemp(join(tmpdir(), 'hv-package-'));
  t.after(() => rm(temporary, { recursive: true, force: true }));
  await chmod(temporary, 0o755);
  const options = { cwd: temporary, env: { ...process.env, TMPDIR: temporary }, maxBuffer: 64 << 20 };
  const helvino = async (...args: string[]) =>
    (await run(process.execPath, [place.program, ...args], options)).stdout;
  const { drill, report, kept } = JSON.parse(await helvino('demo', '--keep', '--json')).result;
  assert.equal(drill.verdict, 'proven');
  const page = await readFile(report, 'utf8');
  assert.match(page, /<html lang="en"/);
  assert.match(page, /Proven/i);
  const config = join(kept, 'helvino.yaml');
  const list = JSON.parse(await helvino('list', '--config', config, '--json'));
  assert.equal(list.result.backups.length, 2);
  const pem = join(temporary, 'key.pem');
  await helvino('drill', 'key', '--config', config, '--output', pem);
  await helvino('drill', 'verify-report', report.replace(/\.html$/, '.json'), '--key', pem);
});

test('what a package keeps beside its program – is found: threads, the reader of files, the archive client', async (t) => {
  const place = await installed(t);
  const dist = await readdir(join(place.folder, 'package/dist'));
  const main = await Promise.all(
    dist
      .filter((file) => file.endsWith('.js'))
      .map((file) => readFile(join(place.folder, 'package/dist', file), 'utf8')),
  );
  const named = main.flatMap((text) =>
    [...text.matchAll(/new URL\("(\.\/[^"]+)", import\.meta\.url\)/g)].map(([, file]) => file!.slice(2)),
  );
  assert.ok(named.includes('fetch-file.js') && named.includes('archive-client.sh'), named.join(' '));
  for (const file of named) assert.ok(dist.includes(file), file);
  assert.deepEqual(
    dist.filter((file) => !file.startsWith('part-') && !named.includes(file)),
    ['LICENSES.txt', 'main.js'],
  );
  const licenses = await readFile(join(place.folder, 'package/dist/LICENSES.txt'), 'utf8');
  for (const name of ['zod', 'pg', 'yaml', 'commander', 'age-encryption'])
    assert.match(licenses, new RegExp(`^${name} [\\d.]+ \\(`, 'm'));
  assert.match(await readFile(join(place.folder, 'package/LICENSE'), 'utf8'), /Apache License/);
});
