import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { helvino } from './cli.ts';
import { dumpMajor, makeShop, withoutPgDump } from './logical-fixture.ts';
import { startTestServer, type TestServer } from './pg-server.ts';

const skip = await withoutPgDump();
const root = fileURLToPath(new URL('../..', import.meta.url));
let server: TestServer;
let home: string;

before(async () => {
  if (skip) return;
  home = await mkdtemp(join(tmpdir(), 'hv-scripts-'));
  server = await startTestServer({ templates: true, major: dumpMajor });
  await makeShop(server);
});

after(async () => {
  await server?.[Symbol.asyncDispose]();
  if (home) await rm(home, { recursive: true, force: true });
});

interface Outcome {
  readonly status: number;
  readonly output: string;
}

function run(program: string, args: readonly string[], env: Record<string, string> = {}): Promise<Outcome> {
  const { HELVINO_CONFIG: _, ...inherited } = process.env;
  return new Promise((resolve) => {
    execFile(
      program,
      [...args],
      { cwd: home ?? tmpdir(), env: { ...inherited, ...env } },
      (error, stdout, stderr) => {
        const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        resolve({ status, output: stdout + stderr });
      },
    );
  });
}

const backup = (folder: string, env: Record<string, string> = {}) =>
  run(join(root, 'scripts/backup-db.sh'), [], {
    DB_NAME: 'shop',
    DB_USER: 'postgres',
    DB_HOST: '127.0.0.1',
    DB_PORT: String(server.port),
    BACKUP_DIR: join(home, folder),
    ...env,
  });
const check = (folder: string, env: Record<string, string> = {}) =>
  run(join(root, 'scripts/backup-health-check.sh'), [], { BACKUP_DIR: join(home, folder), ...env });

test('backup-db.sh and backup-health-check.sh – a file, found fresh; too small, too old, damaged, none', {
  skip,
}, async () => {
  const made = await backup('good');
  assert.equal(made.status, 0, made.output);
  assert.match(made.output, /✅ Backup completed: .*\/good\/helvino_backup_\d{8}_\d{6}\.sql\.gz\n/);
  const [name] = await readdir(join(home, 'good'));
  const file = join(home, 'good', name!);
  const good = await check('good', { MIN_SIZE_KB: '100' });
  assert.equal(good.status, 0, good.output);
  assert.match(good.output, /✅ Backup health check passed/);
  const small = await check('good');
  assert.deepEqual([small.status, /suspiciously small/.test(small.output)], [1, true]);
  const old = Date.now() / 1000 - 37.5 * 3600;
  await utimes(file, old, old);
  const late = await check('good', { MIN_SIZE_KB: '100' });
  assert.deepEqual([late.status, /older than 36 hours/.test(late.output)], [2, true]);
  await truncate(file, 200_000);
  const cut = await check('good', { MIN_SIZE_KB: '100' });
  assert.deepEqual([cut.status, /is damaged/.test(cut.output)], [2, true]);
  const none = await check('nothing');
  assert.deepEqual([none.status, /No backups found/.test(none.output)], [2, true]);
});

test('backup-health-check.sh – dated in the future, empty, cut before it was packed, an old dump copied anew', async () => {
  const folder = join(home ?? tmpdir(), `odd "folder'\n-n`);
  const now = Date.now();
  const stamp = (time: number) =>
    new Date(time).toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '_');
  const put = async (name: string, content: Uint8Array | string, time = now) => {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, name), content);
    await utimes(join(folder, name), time / 1000, time / 1000);
    return run(join(root, 'scripts/backup-health-check.sh'), [], { BACKUP_DIR: folder, MIN_SIZE_KB: '0' });
  };
  const whole = gzipSync('select 1;\n--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict x\n');
  const name = `helvino_backup_${stamp(now)}.sql.gz`;
  const old = `helvino_backup_${stamp(now - 90 * 3_600_000)}.sql.gz`;
  const looks = [
    [await put(name, whole), 0, /check passed/],
    [await put(name, whole, now + 7_200_000), 2, /dated in the future[\s\S]*No backups found/],
    [await put(name, ''), 2, /is empty/],
    [await put(`${name}.gpg`, ''), 2, /is empty/],
    [await put(name, gzipSync('select 1;\ncopy t from stdin;\n1\n')), 2, /breaks off/],
    [await put(old, whole), 2, /Age: 90 hours[\s\S]*older than 36 hours/],
  ] as const;
  for (const [{ status, output }, expected, words] of looks) {
    assert.equal(status, expected, output);
    assert.match(output, words);
  }
});

test('backup-health-check.sh with a helvino.yaml – the repository is asked, too', { skip }, async () => {
  const folder = join(home, 'with-config');
  await backup('with-config');
  const made = await helvino(
    [
      'init',
      '--url',
      server.url,
      '--path',
      join(folder, 'repository'),
      '--database',
      'main',
      '--config',
      join(folder, 'helvino.yaml'),
    ],
    { cwd: folder },
  );
  assert.equal(made.status, 0, made.stderr);
  const env = { MIN_SIZE_KB: '100', HELVINO_CONFIG: join(folder, 'helvino.yaml') };
  const empty = await check('with-config', env);
  assert.deepEqual([empty.status, /HELVINO CRITICAL/.test(empty.output)], [2, true], empty.output);
  const unknown = await check('with-config', { ...env, HELVINO_CONFIG: join(folder, 'nowhere.yaml') });
  assert.equal(unknown.status, 3, unknown.output);
});

test('backup-db.sh – no such database: fails, old files stay, no new one comes', { skip }, async () => {
  await backup('failing');
  const [name] = await readdir(join(home, 'failing'));
  await utimes(join(home, 'failing', name!), 1, 1);
  const failed = await backup('failing', { DB_NAME: 'nope' });
  assert.deepEqual([failed.status, /❌ Backup failed/.test(failed.output)], [1, true], failed.output);
  assert.deepEqual(await readdir(join(home, 'failing')), [name]);
});

test('backup-db.sh with an upload – what is not in the bucket is not called uploaded', { skip }, async () => {
  const bin = join(home, 'bin');
  await cp('/bin/false', join(bin, 'aws'), { recursive: true });
  const env = { S3_TARGET: 's3://bucket/postgres', PATH: `${bin}:${process.env.PATH}` };
  const failed = await backup('upload', env);
  assert.deepEqual(
    [failed.status, /Upload to s3:\/\/bucket\/postgres failed/.test(failed.output)],
    [1, true],
  );
  await writeFile(join(bin, 'aws'), `#!/bin/sh\necho "$@" >> ${home}/aws-calls\n`);
  const sent = await backup('upload\ngood', env);
  assert.equal(sent.status, 0, sent.output);
  assert.match(
    await readFile(join(home, 'aws-calls'), 'utf8'),
    /^s3 cp \S+upload\ngood\/\S+\.sql\.gz s3:\/\/bucket\/postgres\/ --storage-class STANDARD_IA\n$/,
  );
});

test('the systemd units – systemd finds nothing wrong with them', async (t) => {
  const units = await mkdtemp(join(tmpdir(), 'hv-units-'));
  try {
    for (const name of (await readdir(join(root, 'deploy'))).filter((file) =>
      /\.(service|timer)$/.test(file),
    )) {
      const text = await readFile(join(root, 'deploy', name), 'utf8');
      await writeFile(
        join(units, name.replace('@', '@physical')),
        text.replaceAll(/^ExecStart=\S+/gm, 'ExecStart=/bin/true'),
      );
    }
    const files = (await readdir(units)).map((name) => join(units, name));
    assert.ok(files.length >= 3);
    const verified = await run('systemd-analyze', ['verify', ...files]).catch(() => undefined);
    if (verified === undefined || verified.status === -1) return t.skip('systemd-analyze is not here');
    assert.deepEqual(verified, { status: 0, output: '' });
  } finally {
    await rm(units, { recursive: true });
  }
});
