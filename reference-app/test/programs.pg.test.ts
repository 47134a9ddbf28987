import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestServer } from '../../engine/test/pg-server.ts';
import {
  copySeeded,
  folder,
  freePort,
  internalKey,
  runProgram,
  runShell,
  sql,
  startDatabases,
  urlOf,
} from './fixture.ts';

const noCurl = spawnSync('curl', ['--version']).error ? 'no curl: apt-get install curl' : false;
let server: TestServer;
let home: string;

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'hv-app-'));
  server = await startDatabases();
});

after(async () => {
  await server?.[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

async function emptyDatabase(name: string): Promise<{ DATABASE_URL: string }> {
  await sql(server, 'postgres', `create database ${name}`);
  return { DATABASE_URL: urlOf(server, name) };
}

/** The README's curl lines: the guide's first, then the one that stops the writes of an organization. */
async function readmeLines(): Promise<string[]> {
  const readme = await readFile(join(folder, 'README.md'), 'utf8');
  return readme.match(/^curl (.*\\\n)*.*$/gm) ?? [];
}

test('npm start – the guide’s curl lines as printed, load, and an end by Ctrl-C', {
  skip: noCurl,
}, async () => {
  const port = String(await freePort());
  const env = { DATABASE_URL: await copySeeded(server, 'guide'), INTERNAL_KEY: internalKey, PORT: port };
  // Told where port 4000 is, curl takes the lines as they are printed.
  const curl = ['fail-with-body', 'silent', `connect-to = "localhost:4000:localhost:${port}"`];
  await writeFile(
    join(home, '.curlrc'),
    [...curl, 'retry = 60', 'retry-delay = 1', 'retry-connrefused'].join('\n'),
  );
  // A process group, as a terminal makes one: a signal for npm alone would leave the application behind.
  const options = { cwd: folder, env: { ...process.env, ...env }, stdio: 'ignore', detached: true } as const;
  const app = spawn('npm', ['start', '--silent'], options);
  const ended = once(app, 'close');
  const answer = async (line: string) => {
    const { status, stdout, stderr } = await runShell(line, { CURL_HOME: home });
    assert.equal(status, 0, `${line}: ${stdout}${stderr}`);
    return JSON.parse(stdout);
  };
  try {
    const [health, settings, conversations, stopWrites] = await readmeLines();
    assert.deepEqual(
      [health, settings, conversations],
      [
        'curl http://localhost:4000/health',
        'curl -H "x-internal-key: KEY" http://localhost:4000/api/org/demo/settings',
        'curl -H "x-org-key: demo" http://localhost:4000/conversations',
      ],
    );
    assert.equal((await answer(health!)).status, 'ok');
    assert.deepEqual((await answer(settings!)).settings, { locale: 'tr', writeEnabled: true });
    assert.equal((await answer(conversations!)).conversations.length, 10);
    const load = await runShell(
      `npm run --silent load -- --url http://localhost:${port} --rate 40 --seconds 2`,
      {},
    );
    assert.equal(load.status, 0, load.stderr);
    assert.match(load.stdout, /^reads \d+ \(.*; 200: \d+\nwrites \d+ \(.*; 201: \d+\n$/);
    const trail = `select count(*)::int as n from audit_events where actor <> 'seed'`;
    const written = Number(/201: (\d+)/.exec(load.stdout)?.[1]);
    assert.deepEqual(await sql(server, 'guide', trail), [{ n: written }]);
    assert.equal((await answer(stopWrites!)).settings.writeEnabled, false);
  } finally {
    process.kill(-app.pid!, 'SIGINT');
  }
  await ended;
});

test('SIGTERM – what is under way is answered, then it ends with status 0', async () => {
  const port = String(await freePort());
  const env = { DATABASE_URL: await copySeeded(server, 'ending'), INTERNAL_KEY: internalKey, PORT: port };
  const app = spawn(process.execPath, ['src/main.ts'], { cwd: folder, env: { ...process.env, ...env } });
  const ended = once(app, 'exit');
  await once(app.stdout, 'data');
  const headers = { 'x-org-key': 'demo' };
  // Long enough for all of them to be under way: a connection that was not taken yet may be reset.
  const held = sql(
    server,
    'ending',
    'begin; lock table conversations in access exclusive mode; select pg_sleep(3); commit',
  );
  await sleep(500);
  const asked = Array.from({ length: 20 }, () =>
    fetch(`http://localhost:${port}/conversations`, { headers }),
  );
  await sleep(1000);
  app.kill('SIGTERM');
  const statuses = await Promise.all(asked.map(async (one) => (await one).status));
  await held;
  assert.deepEqual(
    statuses.filter((status) => status !== 200 && status !== 503),
    [],
  );
  assert.deepEqual(await ended, [0, null]);
});

test('load without an application – says so and fails', async () => {
  const load = await runProgram(['load', '--url', `http://localhost:${await freePort()}`], {});
  assert.equal(load.status, 1);
  assert.match(load.stderr, /ECONNREFUSED/);
});

test('what is missing or wrong in the environment – one line and status 1', async () => {
  const outcome = async (program: string[], env: Record<string, string>) => {
    const { status, stderr } = await runProgram(program, { DATABASE_URL: '', INTERNAL_KEY: '', ...env });
    return [status, stderr.trim()];
  };
  assert.deepEqual(await outcome(['main'], {}), [1, 'INTERNAL_KEY is not set: what x-internal-key must be']);
  assert.deepEqual(await outcome(['migrate'], {}), [
    1,
    'DATABASE_URL is not set: postgresql://user:password@host:5432/database',
  ]);
  assert.deepEqual(await outcome(['seed', '--messages', 'many'], {}), [
    1,
    '--messages is "many": a number from 0',
  ]);
});

test('migrate – applies what is pending, then nothing; --check tells the one from the other', async () => {
  const env = await emptyDatabase('fresh');
  const before = await runProgram(['migrate', '--check'], env);
  assert.deepEqual([before.status, /not applied: 20260105090000_init, /.test(before.stderr)], [1, true]);
  const [first, second] = await Promise.all([runProgram(['migrate'], env), runProgram(['migrate'], env)]);
  assert.deepEqual([first!.status, second!.status], [0, 0], first!.stderr + second!.stderr);
  const news = [first!, second!].map(({ stdout }) => /(\d) of them new/.exec(stdout)?.[1]).sort();
  assert.deepEqual(news, ['0', '2'], 'of two at once, one does it');
  await sql(server, 'fresh', 'alter database fresh set default_transaction_read_only = on');
  for (const program of [['migrate'], ['migrate', '--check']]) {
    const again = await runProgram(program, env);
    assert.equal(again.status, 0, `a database that takes no writes needs none: ${again.stderr}`);
  }
});

test('migrate from an older release – only what is new, the rows stay', async () => {
  const env = await emptyDatabase('older');
  const old = join(home, 'old');
  const init = '20260105090000_init';
  await cp(join(folder, 'prisma/migrations', init), join(old, init), { recursive: true });
  assert.equal((await runProgram(['migrate', '--folder', old], env)).status, 0);
  await sql(server, 'older', `insert into organizations (key, name) values ('kept', 'Kept')`);
  const done = await runProgram(['migrate'], env);
  assert.match(done.stdout, /^applied 20260212101500_threads_tags_audit\n/);
  assert.deepEqual(await sql(server, 'older', 'select key from organizations'), [{ key: 'kept' }]);
  const back = await runProgram(['migrate', '--folder', old], env);
  assert.deepEqual([back.status, /not known here: 20260212/.test(back.stderr)], [1, true]);
});

test('a migration that fails – nothing of it is kept, the ones before are, and it can be tried again', async () => {
  const env = await emptyDatabase('failing');
  const broken = join(home, 'broken');
  await cp(join(folder, 'prisma/migrations'), broken, { recursive: true });
  const file = join(broken, '20260212101500_threads_tags_audit/migration.sql');
  const good = await readFile(file, 'utf8');
  await writeFile(file, `${good}select 1 / 0;`);
  const failed = await runProgram(['migrate', '--folder', broken], env);
  assert.equal(failed.status, 1);
  assert.match(
    failed.stderr,
    /20260212101500_threads_tags_audit failed, nothing of it was kept: division by zero/,
  );
  const history = 'select migration_name as name from _prisma_migrations';
  assert.deepEqual(await sql(server, 'failing', history), [{ name: '20260105090000_init' }]);
  assert.equal((await runProgram(['migrate'], env)).status, 0);
});

const content = `select md5(string_agg(row, '' order by row)) as hash, count(*)::int as rows from (
  select o::text from organizations o union all select u::text from users u union all select c::text from conversations c
  union all select m::text from messages m union all select a::text from attachments a union all select t::text from tags t
  union all select x::text from conversation_tags x union all select e::text from audit_events e) all_of_it(row)`;

test('seed – the same rows for the same number, others for another; a database with rows is refused', async () => {
  const env = await emptyDatabase('same');
  await runProgram(['migrate'], env);
  const size = ['--organizations', '2', '--messages', '300'];
  assert.equal((await runProgram(['seed', ...size], env)).status, 0);
  const [same] = await sql<{ rows: number }>(server, 'same', content);
  assert.deepEqual(await sql(server, 'seeded', content), [same]);
  assert.ok(same!.rows > 400);
  const again = await runProgram(['seed', ...size], env);
  assert.deepEqual([again.status, again.stderr.startsWith('there are organizations')], [1, true]);
  await sql(server, 'same', 'truncate organizations cascade');
  assert.equal((await runProgram(['seed', ...size, '--seed', '2'], env)).status, 0);
  assert.notDeepEqual(await sql(server, 'same', content), [same]);
});
