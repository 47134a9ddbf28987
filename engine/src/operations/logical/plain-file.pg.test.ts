import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { smallDisk } from '../../../test/backup-fixture.ts';
import { dumpMajor, makeShop, rowsOf, withoutPgDump } from '../../../test/logical-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { systemClock } from '../../base/clock.ts';
import { silentProgress } from '../../base/progress.ts';
import { resolveConnection } from '../../postgres/index.ts';
import { noApplication } from './application.ts';
import { dumpInFile } from './dump-source.ts';
import { dumpToFile, type PlainFileOptions } from './plain-file.ts';
import { restoreDatabase } from './restore-database.ts';

const run = promisify(execFile);
const skip = await withoutPgDump();
const skipGpg =
  skip ||
  (await run('gpg', ['--version']).then(
    () => false as const,
    () => 'gpg is not installed: apt-get install gnupg',
  ));
let server: TestServer;
let home: string;
let env: Record<string, string | undefined>;

before(async () => {
  if (skip) return;
  home = await mkdtemp(join(tmpdir(), 'hv-plain-'));
  env = { ...process.env, GNUPGHOME: join(home, 'gnupg') };
  await mkdir(join(home, 'gnupg'), { mode: 0o700 });
  server = await startTestServer({ templates: true, major: dumpMajor });
  await makeShop(server);
});

after(async () => {
  await server?.[Symbol.asyncDispose]();
  if (home) {
    await run('gpgconf', ['--kill', 'gpg-agent'], { env }).catch(() => undefined);
    await rm(home, { recursive: true, force: true });
  }
});

const common = () => ({
  binDirs: [],
  env,
  clock: systemClock,
  progress: silentProgress,
  signal: new AbortController().signal,
});

async function dump(folder: string, overrides: Partial<PlainFileOptions> = {}) {
  const connection = await resolveConnection({ url: server.url }, {});
  return dumpToFile({ ...common(), connection, dbname: 'shop', folder: join(home, folder), ...overrides });
}

async function restoreFile(file: string, database: string) {
  return restoreDatabase({
    ...common(),
    source: await dumpInFile(file, common()),
    connection: await resolveConnection({ url: server.url }, {}),
    database,
    selection: { schemas: [], tables: [] },
    jobs: 1,
    owners: true,
    rights: true,
    globals: false,
    application: noApplication,
  });
}

const messages = async (database: string) =>
  (await rowsOf<{ n: string }>(server, database, 'select count(*) as n from public.messages'))[0]!.n;

test("the guide's quick commands – gunzip and psql restore the file", { skip }, async () => {
  const result = await dump('quick');
  assert.match(basename(result.file), /^helvino_backup_\d{8}_\d{6}\.sql\.gz$/);
  assert.equal((await stat(result.file)).mode & 0o777, 0o600);
  assert.deepEqual(await readdir(join(home, 'quick')), [basename(result.file)]);
  await rowsOf(server, 'postgres', 'create database quick');
  const url = server.url.replace(/postgres$/, 'quick');
  const psql = `/usr/lib/postgresql/${dumpMajor}/bin/psql`;
  await run('bash', [
    '-c',
    `set -o pipefail; gunzip -c ${result.file} | ${psql} -X -q -v ON_ERROR_STOP=1 '${url}'`,
  ]);
  assert.equal(await messages('quick'), '20000');
});

test('the same file through helvino restore – and over a database: what is in it belongs to its owner', {
  skip,
}, async () => {
  const { file } = await dump('through');
  assert.equal((await restoreFile(file, 'through')).keptAs, undefined);
  await rowsOf(server, 'postgres', 'alter database through owner to keeper');
  await rowsOf(server, 'through', 'delete from public.messages');
  const result = await restoreFile(file, 'through');
  assert.equal(await messages('through'), '20000');
  assert.equal(await messages(result.keptAs!), '0');
  assert.deepEqual(result.checks, [
    { name: 'row counts', state: 'unproven', detail: 'a plain file does not say what it should hold' },
  ]);
  const owners = await rowsOf<{ o: string }>(
    server,
    'through',
    `select distinct tableowner as o from pg_tables where schemaname = 'public'`,
  );
  assert.deepEqual(owners, [{ o: 'keeper' }]);
});

test('encrypted for a recipient – opened by plain gpg, and by helvino restore', {
  skip: skipGpg,
}, async () => {
  await assert.rejects(dump('sealed', { gpgRecipient: 'ops@helvino.test' }), {
    code: 'KEY_MISSING',
    hint: /gpg --import/,
  });
  const make = [
    '--batch',
    '--passphrase',
    '',
    '--quick-gen-key',
    'ops@helvino.test',
    'rsa2048',
    'encr',
    'never',
  ];
  await run('gpg', make, { env });
  const result = await dump('sealed', { gpgRecipient: 'ops@helvino.test' });
  assert.match(result.file, /\.sql\.gz\.gpg$/);
  const { stdout } = await run(
    'bash',
    ['-c', `gpg --batch --quiet --decrypt ${result.file} | gunzip | tail -3`],
    {
      env,
    },
  );
  assert.match(stdout, /unrestrict|dump complete/);
  await restoreFile(result.file, 'unsealed');
  assert.equal(await messages('unsealed'), '20000');
  await truncate(result.file, result.bytes - 1000);
  await assert.rejects(restoreFile(result.file, 'unsealed_too'), { code: 'KEY_WRONG' });
  const left = await rowsOf(server, 'postgres', `select from pg_database where datname like 'unsealed_too%'`);
  assert.equal(left.length, 0);
});

test('recipients – exactly the address, one key only, one that can encrypt', { skip: skipGpg }, async () => {
  const own = { ...env, GNUPGHOME: join(home, 'gnupg-names') };
  await mkdir(own.GNUPGHOME, { mode: 0o700 });
  const make = async (name: string, usage: string, expires = 'never') =>
    run('gpg', ['--batch', '--passphrase', '', '--quick-gen-key', name, 'rsa2048', usage, expires], {
      env: own,
    });
  try {
    await make('gone@helvino.test', 'encr', 'seconds=1');
    await make('devops@helvino.test', 'encr');
    await make('ops@helvino.test', 'encr');
    await make('signer@helvino.test', 'sign');
    // The first key's second, as gpg counts, whole ones.
    await sleep(2000);
    const sealed = await dump('names', { gpgRecipient: 'ops@helvino.test', env: own });
    const told = await run('bash', ['-c', `gpg --batch --decrypt ${sealed.file} 2>&1 >/dev/null`], {
      env: own,
    });
    assert.match(told.stdout, /"ops@helvino\.test"/);
    await assert.rejects(dump('names', { gpgRecipient: 'helvino.test', env: own }), {
      code: 'KEY_MISSING',
      message: /2 keys of gpg fit/,
      hint: /[0-9A-F]{40}, [0-9A-F]{40}$/,
    });
    await assert.rejects(dump('names', { gpgRecipient: 'signer@helvino.test', env: own }), {
      code: 'KEY_MISSING',
      message: /cannot encrypt/,
    });
    await assert.rejects(dump('names', { gpgRecipient: 'gone@helvino.test', env: own }), {
      code: 'KEY_MISSING',
      message: /has expired/,
    });
    assert.equal((await readdir(join(home, 'names'))).length, 1);
  } finally {
    await run('gpgconf', ['--kill', 'gpg-agent'], { env: own }).catch(() => undefined);
  }
});

test('two dumps in one second, and a link planted at the name – both are kept, what the link names is not touched', {
  skip,
}, async () => {
  const folder = join(home, `odd 'folder"\n$(x)`);
  const clock = { ...systemClock, now: () => new Date('2026-02-05T02:00:00.700Z') };
  await mkdir(folder);
  const victim = join(home, 'victim');
  await writeFile(victim, 'mine');
  await symlink(victim, join(folder, 'helvino_backup_20260205_020000.sql.gz'));
  const first = await dump('', { folder, clock });
  const second = await dump('', { folder, clock });
  assert.deepEqual(
    [first, second].map(({ file }) => basename(file)),
    ['helvino_backup_20260205_020001.sql.gz', 'helvino_backup_20260205_020002.sql.gz'],
  );
  assert.equal(await readFile(victim, 'utf8'), 'mine');
  assert.equal((await readdir(folder)).length, 3);
});

test('a file that was cut – refused, and no database is left', { skip }, async () => {
  const { file, bytes } = await dump('cut');
  await truncate(file, bytes - 20_000);
  await assert.rejects(restoreFile(file, 'cut'), { code: 'PROTOCOL', message: /cannot be read/ });
  const whole = await dump('sql');
  const sql = join(home, 'half.sql');
  await run('bash', ['-c', `gunzip -c ${whole.file} | head -c 500000 > ${sql}`]);
  await assert.rejects(restoreFile(sql, 'cut'));
  assert.equal(
    (await rowsOf(server, 'postgres', `select from pg_database where datname like 'cut%'`)).length,
    0,
  );
});

test('keep-days – only files of ours that are older, and only after a new one is there', {
  skip,
}, async () => {
  const folder = join(home, 'keep');
  await mkdir(folder);
  const old = (await systemClock.now().getTime()) / 1000 - 40 * 86_400;
  const files = [
    'helvino_backup_20200101_020000.sql.gz',
    'helvino_backup_20200101_020000.sql.gz.gpg',
    'mine.sql.gz',
  ];
  for (const name of files) {
    await writeFile(join(folder, name), 'x');
    await utimes(join(folder, name), old, old);
  }
  await writeFile(join(folder, 'helvino_backup_20200102_020000.sql.gz'), 'new by its time');
  await assert.rejects(dump('keep', { keepDays: 30, dbname: 'nope' }));
  assert.equal((await readdir(folder)).length, 4);
  const result = await dump('keep', { keepDays: 30 });
  assert.deepEqual(
    result.removed.map((path) => basename(path)),
    files.slice(0, 2),
  );
  assert.equal((await readdir(folder)).length, 3);
});

test('pg_dump fails midway – no file, whatever the pipe says', { skip }, async () => {
  const bin = join(home, 'bin');
  await mkdir(bin);
  const real = `/usr/lib/postgresql/${dumpMajor}/bin`;
  for (const name of ['pg_dumpall', 'pg_restore', 'psql']) await symlink(join(real, name), join(bin, name));
  for (const end of ['exit 1', 'kill -9 $$', 'exit 0']) {
    const script = `#!/bin/sh\n[ "$1" = --version ] && exec ${real}/pg_dump --version\n${real}/pg_dump "$@" | head -c 300000; ${end}\n`;
    await writeFile(join(bin, 'pg_dump'), script);
    await chmod(join(bin, 'pg_dump'), 0o755);
    await assert.rejects(dump('midway', { binDirs: [bin] }), end);
    assert.deepEqual(await readdir(join(home, 'midway')), [], end);
  }
});

test('a full disk – said, and nothing is left', { skip }, async (t) => {
  await using disk = await smallDisk(300_000);
  if (!disk) return t.skip('a file system cannot be mounted here');
  await assert.rejects(dump('', { folder: disk.path }), { code: 'TARGET_TOO_SMALL' });
  assert.deepEqual(await readdir(disk.path), []);
});
