import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { helvino, helvinoJson, type JsonAnswer } from './cli.ts';
import { loseConversations } from './lost-tenant.ts';
import { commandsOf } from './page-commands.ts';
import { serverFolder, startTestServer, type TestServer } from './pg-server.ts';

let server: TestServer;
let home: string;
let restored: string;
const identity = 'helvino-recovery-identity.txt';

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'hv-cli-'));
  restored = join(await serverFolder('hv-cli-restored-'), 'data');
  server = await startTestServer({ templates: true, major: 18, config: { summarize_wal: 'on' } });
  await sql(
    'create table shop (id int primary key, name text); insert into shop select i, md5(i::text) from generate_series(1, 5000) i',
  );
});

after(async () => {
  await server[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
  await rm(join(restored, '..'), { recursive: true, force: true });
});

async function sql(text: string): Promise<void> {
  const client = new pg.Client(server.url);
  await client.connect();
  await client.query(text);
  await client.end();
}

const here = () => ({ cwd: home });

interface Listed {
  readonly id: string;
  readonly notes: unknown;
  readonly label?: string;
  readonly proof: { readonly verdict: string };
}

function backupsOf(answer: JsonAnswer): readonly Listed[] {
  return (answer.result?.backups ?? []) as readonly Listed[];
}

test('init – writes configuration, keys and repository, and checks the server', async () => {
  const outcome = await helvino(
    ['init', '--url', server.url, '--path', 'repository', '--database', 'shop'],
    here(),
  );
  assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
  assert.match(outcome.stdout, /KEEP .*helvino-recovery-identity\.txt SAFE/);
  assert.match(outcome.stdout, /good {5}replication/);
  assert.match(outcome.stdout, /Ready\. Next: helvino backup/);
  for (const file of ['helvino.yaml', 'helvino.catalog.key', identity])
    assert.equal((await stat(join(home, file))).mode & 0o777, 0o600, file);
  assert.doesNotMatch(await readFile(join(home, 'helvino.yaml'), 'utf8'), /AGE-SECRET-KEY/);
});

test('init again under the same name – refused, nothing is overwritten', async () => {
  const answer = await helvinoJson(
    ['init', '--url', server.url, '--path', 'other', '--database', 'shop'],
    here(),
  );
  assert.deepEqual([answer.status, answer.error?.code], [78, 'CONFIG_INVALID']);
});

test('init of a second database – one file protects both; a verb asks which one', async () => {
  assert.equal((await helvino(['init', '--url', server.url, '--database', 'second'], here())).status, 0);
  const answer = await helvinoJson(['backup'], here());
  assert.deepEqual([answer.status, answer.error?.hint], [64, '--database shop | second']);
});

test('init with a password in the URL – refused: the file holds no secrets', async () => {
  const answer = await helvinoJson(
    ['init', '--url', 'postgresql://a:secret@host/db', '--database', 'third'],
    here(),
  );
  assert.equal(answer.error?.code, 'USAGE');
  assert.doesNotMatch(JSON.stringify(answer), /secret@/);
});

test('doctor – good where all is there, exit 1 and what to do where not', async () => {
  assert.equal((await helvino(['doctor', '--database', 'shop'], here())).status, 0);
  await helvino(
    ['init', '--url', 'postgresql://postgres@127.0.0.1:1/postgres', '--database', 'gone', '--no-check'],
    here(),
  );
  const outcome = await helvino(['doctor', '--database', 'gone'], here());
  assert.equal(outcome.status, 1);
  assert.match(outcome.stdout, /MISSING {2}connection/);
});

test('backup, full then incremental – label and notes are kept, list and show have them', async () => {
  const full = await helvinoJson(
    ['backup', '-d', 'shop', '--label', 'pre-deploy', '--note', 'version=1.4.2', '--note', 'by=ci'],
    here(),
  );
  assert.equal(full.status, 0, JSON.stringify(full));
  assert.equal(full.result?.kind, 'full');
  await sql('update shop set name = upper(name) where id % 100 = 0');
  const outcome = await helvino(['backup', '-d', 'shop'], here());
  assert.match(outcome.stdout, /incremental on .* \(changed-pages\)/);
  assert.match(outcome.stderr, /receiving the changed pages of the database \(\d+\.\d MiB\)/);
  const list = await helvinoJson(['list', '-d', 'shop'], here());
  const backups = backupsOf(list);
  assert.deepEqual(
    backups.map((b) => [b.label, b.notes, b.proof.verdict]),
    [
      ['pre-deploy', { version: '1.4.2', by: 'ci' }, 'unproven'],
      [undefined, {}, 'unproven'],
    ],
  );
  const show = await helvino(
    ['show', backups[0]!.id.slice(0, 20), '-d', 'shop', '--files', '--tables'],
    here(),
  );
  assert.match(show.stdout, /label +pre-deploy/);
  assert.match(show.stdout, /global\/pg_control/);
  assert.match(show.stdout, /public\.shop +5000/);
});

test('drill – proven, exit 0, and list says so', async () => {
  const outcome = await helvino(['drill', '-d', 'shop', '--identity', identity], here());
  assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
  assert.match(outcome.stdout, /passed +content .*equal to the source/);
  assert.match(outcome.stdout, /^PROVEN: /m);
  assert.match((await helvino(['list', '-d', 'shop'], here())).stdout, /proven on \d{4}-/);
});

test('restore without the identity – refused with what is needed', async () => {
  const answer = await helvinoJson(['restore', '-d', 'shop', '--to-directory', restored], here());
  assert.deepEqual([answer.status, answer.error?.code], [77, 'KEY_MISSING']);
});

test('restore with the identity in the environment, from the repository alone – works without any configuration', async () => {
  const env = { HELVINO_IDENTITY_FILE: join(home, identity) };
  const args = [
    'restore',
    '--repository-path',
    join(home, 'repository'),
    '-d',
    'shop',
    '--to-directory',
    restored,
  ];
  const elsewhere = { cwd: tmpdir(), env };
  assert.match((await helvino([...args, '--dry-run'], elsewhere)).stdout, /would restore/);
  const outcome = await helvino(args, elsewhere);
  assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
  await using copy = await startTestServer({ major: 18, dataDir: restored });
  const client = new pg.Client(copy.url);
  await client.connect();
  const { rows } = await client.query(
    'select count(*)::int as n, min(name) as least from shop where name = upper(name) and id % 100 = 0',
  );
  await client.end();
  assert.equal(rows[0].n, 50);
});

test('restore into a directory that is not empty – refused; --delta needs a confirmation', async () => {
  const args = ['restore', '-d', 'shop', '--to-directory', restored, '--identity', identity];
  assert.equal((await helvinoJson(args, here())).error?.code, 'TARGET_NOT_EMPTY');
  assert.equal((await helvinoJson([...args, '--delta'], here())).error?.code, 'CONFIRMATION_NEEDED');
  const outcome = await helvinoJson([...args, '--delta', '--confirm', restored], here());
  assert.equal(outcome.status, 0, JSON.stringify(outcome));
});

test('verify – passes; damage is exit 1, named by file and table', async () => {
  const clean = await helvinoJson(['verify', '--read-data', '--identity', identity, '-d', 'shop'], here());
  assert.deepEqual([clean.status, clean.result?.verdict, clean.result?.depth], [0, 'passed', 'every byte']);
  const packs = join(home, 'repository', 'packs');
  const names = (await readdir(packs, { recursive: true })).filter((name) => name.includes('/'));
  const sizes = await Promise.all(
    names.map(async (name) => ({ name, size: (await stat(join(packs, name))).size })),
  );
  const largest = join(packs, sizes.sort((a, b) => b.size - a.size)[0]!.name);
  const good = await readFile(largest);
  const bad = Buffer.from(good);
  for (let at = 1000; at < bad.length - 20_000; at += 50_000) bad[at] = bad[at]! ^ 1;
  await writeFile(largest, bad);
  const outcome = await helvino(['verify', '--read-data', '-d', 'shop'], here());
  await writeFile(largest, good);
  assert.equal(outcome.status, 1);
  assert.match(outcome.stdout, /DAMAGED/);
  assert.match(outcome.stdout, /touches base\/\d+\/\d+ \(\w+: pg_catalog\.pg_\w+\)/);
  // Until a verification finds it good again.
  const next = await helvinoJson(['backup', '-d', 'shop', '--incremental'], here());
  assert.deepEqual([next.status, next.error?.code], [65, 'REPOSITORY_DAMAGED']);
});

test('remove and collect – plan first, confirmation, then the space is free', async () => {
  const list = await helvinoJson(['list', '-d', 'shop'], here());
  const first = backupsOf(list)[0]!.id;
  assert.match(
    (await helvino(['remove', first, '-d', 'shop', '--dry-run'], here())).stdout,
    /nothing was done/,
  );
  assert.equal(
    (await helvinoJson(['remove', first, '-d', 'shop'], here())).error?.code,
    'CONFIRMATION_NEEDED',
  );
  assert.equal((await helvino(['remove', first, '-d', 'shop', '--confirm', first], here())).status, 0);
  assert.match((await helvino(['collect', '-d', 'shop', '--grace', '0s'], here())).stdout, /kept +\d+ packs/);
  const done = await helvinoJson(['collect', '-d', 'shop', '--grace', '0s', '--apply'], here());
  assert.equal(done.status, 0, JSON.stringify(done));
  assert.equal((await helvino(['verify', '-d', 'shop', '--read-data', '-i', identity], here())).status, 0);
  assert.equal((await helvino(['drill', '-d', 'shop', '-i', identity], here())).status, 0);
});

test('keys – a second recipient restores; after its removal it does not; rotation keeps old backups readable', async () => {
  const fresh = await helvinoJson(['key', 'new', '--output', 'second.txt'], here());
  const recipient = String(fresh.result?.recipient);
  const verifyWith = (file: string) =>
    helvinoJson(['verify', '--read-data', '-d', 'shop', '--identity', file], here());
  assert.equal((await verifyWith('second.txt')).error?.code, 'KEY_WRONG');
  assert.equal(
    (await helvino(['key', 'add', recipient, '-d', 'shop', '--identity', identity], here())).status,
    0,
  );
  assert.equal((await verifyWith('second.txt')).result?.depth, 'every byte');
  assert.equal(
    (
      await helvino(
        ['key', 'remove', recipient, '-d', 'shop', '--identity', identity, '--confirm', recipient],
        here(),
      )
    ).status,
    0,
  );
  assert.equal((await verifyWith('second.txt')).error?.code, 'KEY_WRONG');
  assert.equal(
    (
      await helvino(
        ['key', 'rotate', '-d', 'shop', '--identity', identity, '--output', 'rotated.txt'],
        here(),
      )
    ).status,
    0,
  );
  assert.equal((await verifyWith(identity)).error?.code, 'KEY_WRONG');
  assert.equal((await verifyWith('rotated.txt')).status, 0);
  assert.equal((await helvino(['key', 'rotate', '-d', 'shop', '--catalog'], here())).status, 0);
  assert.equal((await helvinoJson(['backup', '-d', 'shop'], here())).result?.kind, 'full');
  assert.equal((await verifyWith('rotated.txt')).status, 0);
});

test('the recovery kit – has all that its own commands need', async () => {
  assert.equal(
    (await helvino(['key', 'kit', '-d', 'shop', '--identity', 'rotated.txt', '--with-identity'], here()))
      .status,
    0,
  );
  const page = await readFile(join(home, 'helvino-recovery-kit.html'), 'utf8');
  const secret = /AGE-SECRET-KEY-1[A-Z0-9]+/.exec(page)?.[0];
  assert.ok(secret);
  assert.ok(page.includes(join(home, 'repository')));
  const env = { HELVINO_IDENTITY: secret };
  const listed = await helvinoJson(['list', '--repository-path', join(home, 'repository')], {
    cwd: tmpdir(),
    env,
  });
  assert.equal(backupsOf(listed).length, 2);
  const key = await helvino(['key', 'catalog', '--repository-path', join(home, 'repository')], {
    cwd: tmpdir(),
    env,
  });
  assert.deepEqual(key.stdout, await readFile(join(home, 'helvino.catalog.key'), 'utf8'));
});

test('WAL – streamed by the command until SIGTERM, then restored to a transaction', async () => {
  const launcher = fileURLToPath(new URL('../bin/helvino.mjs', import.meta.url));
  const child = spawn(
    process.execPath,
    [launcher, 'wal', 'stream', '-d', 'shop', '--every', '100ms', '--json'],
    {
      cwd: home,
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  let answer = '';
  child.stdout.on('data', (chunk) => (answer += chunk));
  const closed = new Promise((resolve) => child.on('close', resolve));
  const status = async () =>
    (await helvinoJson(['wal', 'status', '-d', 'shop'], here())).result as {
      lag?: { bytes: number };
      ranges: unknown[];
    };
  for (let i = 0; i < 100 && (await status()).ranges.length === 0; i++);
  assert.equal((await helvino(['backup', '-d', 'shop'], here())).status, 0);
  await sql('insert into shop values (9001, $$kept$$)');
  await sql('create table before_accident as select max(xmin::text::int8) as xid from shop where id = 9001');
  await sql('delete from shop');
  for (let i = 0; i < 100 && (await status()).lag?.bytes !== 0; i++);
  child.kill('SIGTERM');
  await closed;
  assert.equal((JSON.parse(answer) as JsonAnswer).ok, true, answer);
  const client = new pg.Client(server.url);
  await client.connect();
  const { rows } = await client.query('select xid from before_accident');
  await client.end();
  const target = join(restored, '..', 'wal');
  const args = [
    'restore',
    '-d',
    'shop',
    '--to',
    `xid:${rows[0].xid}`,
    '--to-directory',
    target,
    '--identity',
    'rotated.txt',
  ];
  const outcome = await helvino(args, here());
  assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
  await using copy = await startTestServer({ major: 18, dataDir: target });
  const reader = new pg.Client(copy.url);
  await reader.connect();
  const found = await reader.query(
    `select count(*)::int as n, count(*) filter (where name = 'kept')::int as kept from shop`,
  );
  await reader.end();
  assert.deepEqual(found.rows[0], { n: 5001, kept: 1 });
  const accident = await helvino(
    ['find', '-d', 'shop', '--deletes-over', '5000', '--since', 'today'],
    here(),
  );
  assert.equal(accident.status, 0, accident.stdout + accident.stderr);
  assert.match(accident.stdout, /postgres public\.shop: 5001 rows deleted/);
  const command = /just before it: (helvino restore --to (before:xid:\d+) -.*)/.exec(accident.stdout);
  assert.ok(command, accident.stdout);
  assert.match(accident.stdout, /back: helvino rescue plan .* --dbname postgres --database shop/);
  const before = join(restored, '..', 'before');
  const words = command[1]!.replace('FOLDER', before).split(' ').slice(1);
  const rewound = await helvino([...words, '--identity', 'rotated.txt'], here());
  assert.equal(rewound.status, 0, rewound.stdout + rewound.stderr);
  await using rescued = await startTestServer({ major: 18, dataDir: before });
  const check = new pg.Client(rescued.url);
  await check.connect();
  assert.equal((await check.query('select count(*)::int as n from shop')).rows[0].n, 5001);
  await check.end();
  assert.equal((await helvino(['find', '-d', 'shop', '--drops', '--table', 'shop'], here())).status, 1);
  const verified = await helvinoJson(
    ['verify', '--read-data', '-d', 'shop', '--identity', 'rotated.txt'],
    here(),
  );
  assert.equal(verified.status, 0, JSON.stringify(verified));
});

/** `helvino open --to latest …`, until it says where; `closed` is its exit status. */
async function openLatest(...more: string[]) {
  const launcher = fileURLToPath(new URL('../bin/helvino.mjs', import.meta.url));
  const parent = join(restored, '..', 'open');
  const common = ['--to', 'latest', '-d', 'shop', '--identity', 'rotated.txt', '--directory', parent];
  const child = spawn(process.execPath, [launcher, 'open', ...common, '--json', ...more], {
    cwd: home,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const closed = once(child, 'close').then(([status]) => status as number);
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const { url } = JSON.parse(line) as { url: string };
  const client = new pg.Client(url);
  client.on('error', () => undefined);
  await client.connect();
  return { child, client, closed, parent, url };
}

test('open – a server as of a moment, read-only, gone after Ctrl-C', async () => {
  const { child, client, closed, parent, url } = await openLatest();
  const { rows } = await client.query('select count(*)::int as n from shop');
  await assert.rejects(client.query('create table t ()'), /read-only/);
  await client.end();
  assert.equal(rows[0].n, 0);
  await assert.rejects(
    new pg.Client(url.replace(/:[0-9a-f]{32}@/, ':wrong@')).connect(),
    /password authentication failed/,
  );
  child.kill('SIGINT');
  assert.equal(await closed, 0);
  assert.deepEqual(await readdir(parent), []);
});

test('open --writable --for – takes changes, and is gone when the time is over', async () => {
  const begun = performance.now();
  const { client, closed, parent } = await openLatest('--writable', '--for', '5s');
  await client.query('create table t as select 1 as i');
  assert.equal((await client.query('select i from t')).rows[0].i, 1);
  assert.equal(await closed, 0);
  assert.ok(performance.now() - begun > 5000);
  assert.deepEqual(await readdir(parent), []);
  await client.end().catch(() => undefined);
});

test('the commands in docs/operations – each runs as it is written', async (t) => {
  const folder = fileURLToPath(new URL('../../docs/operations/', import.meta.url));
  const only = join(home, 'only');
  await mkdir(only);
  await writeFile(join(only, 'identity.txt'), await readFile(join(home, 'rotated.txt')));
  for (const key of ['helvino.catalog.key', 'helvino.drill.key'])
    await copyFile(join(home, key), join(only, key));
  const config = (await readFile(join(home, 'helvino.yaml'), 'utf8')).replace(
    /\n {2}(second|gone):[\s\S]*?(?=\n {2}\w+:|$)/g,
    '',
  );
  const plan = (await readFile(join(folder, 'monthly-drill.md'), 'utf8')).split(/```(?:yaml\n)?/)[1];
  await writeFile(join(only, 'helvino.yaml'), `${config}\n${plan}`);
  // As the pages assume it: without a stream `wal status` gives an alarm, and ends with status 1.
  const alone = await helvino(['wal', 'status'], { cwd: only });
  assert.equal(alone.status, 1, alone.stdout + alone.stderr);
  assert.match(alone.stdout, /^ALARM {2}no stream is running/m);
  const stop = new AbortController();
  t.after(() => stop.abort());
  const stream = helvino(['wal', 'stream', '--synchronous'], { cwd: only, signal: stop.signal });
  const safe = async () => (await helvino(['wal', 'status'], { cwd: only })).status === 0;
  for (let i = 0; i < 60 && !(await safe()); i++);
  const accident = await loseConversations(server, only);
  let ran = 0;
  for (const page of (await readdir(folder)).sort()) {
    const text = await readFile(join(folder, page), 'utf8');
    await rm(restored, { recursive: true, force: true });
    for (const command of commandsOf(text)) {
      const [line = ''] = command.split(/ > | \|\| /);
      const words = line
        .replaceAll('/srv/restored', restored)
        .replaceAll('/usr/local/bin', only)
        .replaceAll('/var/lib/postgresql/18/main', restored)
        .replaceAll('/mnt/repository', join(home, 'repository'))
        .replaceAll('xid:4711', `xid:${accident}`)
        .split(' ')
        .slice(2);
      if (words.includes('--delta')) words.push('--confirm', restored);
      const outcome = await helvino(words, { cwd: only });
      const fine = ['0', /-eq (\d+)$/.exec(command)?.[1]].includes(String(outcome.status));
      assert.ok(fine, `${page}: ${command}\n${outcome.stdout}${outcome.stderr}`);
      ran++;
    }
  }
  assert.ok(ran >= 12, `${ran} ran`);
  stop.abort();
  await stream;
});

test('SIGTERM during a backup – exit 130, nothing is committed, the next backup works', async () => {
  const before = backupsOf(await helvinoJson(['list', '-d', 'shop'], here()));
  const launcher = fileURLToPath(new URL('../bin/helvino.mjs', import.meta.url));
  const child = spawn(process.execPath, [launcher, 'backup', '-d', 'shop', '--full', '--max-rate', '1 MiB'], {
    cwd: home,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
    if (/receiving/.test(errors)) child.kill('SIGTERM');
  });
  const status = await new Promise((resolve) => child.on('close', resolve));
  assert.equal(status, 130, errors);
  assert.match(errors, /code: INTERRUPTED/);
  assert.equal(backupsOf(await helvinoJson(['list', '-d', 'shop'], here())).length, before.length);
  assert.equal((await helvino(['backup', '-d', 'shop'], here())).status, 0);
});

test('mistakes on the command line – exit 64 and a hint', async () => {
  for (const args of [
    ['bakcup'],
    ['backup', '--fulll'],
    ['restore', '--to-directory'],
    [],
    ['completion', 'tcsh'],
    ['backup', '-d', 'nope'],
    ['wal', 'stream', '-d', 'gone', '--slot', 'a'.repeat(64)],
  ]) {
    const outcome = await helvino(args, here());
    assert.equal(outcome.status, 64, `${args.join(' ')}: ${outcome.stdout}${outcome.stderr}`);
    assert.match(outcome.stderr, /^error: .*\nhint: /m);
    assert.doesNotMatch(outcome.stderr, /\n\s+at /);
  }
});

test('completion – scripts that the shells accept', async () => {
  const { execFileSync } = await import('node:child_process');
  const { stdout } = await helvino(['completion', 'bash'], here());
  const words = execFileSync('bash', [
    '-c',
    `${stdout}\nCOMP_WORDS=(helvino back); COMP_CWORD=1; _helvino; echo "\${COMPREPLY[@]}"`,
  ]).toString();
  assert.equal(words.trim(), 'backup');
  assert.match((await helvino(['completion', 'fish'], here())).stdout, /complete -c helvino/);
});
