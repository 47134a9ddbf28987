import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { helvino, helvinoJson } from './cli.ts';
import { dumpMajor, rowsOf, withoutPgDump } from './logical-fixture.ts';
import { startTestServer, type TestServer } from './pg-server.ts';

const skip = await withoutPgDump();
const folder = fileURLToPath(new URL('../../reference-app/', import.meta.url));
const database = 'helvino_prod';
const conversation = '11111111-1111-4111-8111-111111111111';
let server: TestServer;
let home: string;
let port: number;
const here = () => ({ cwd: home });

const environment = () => ({
  DATABASE_URL: server.url.replace(/[^/]*$/, database),
  INTERNAL_KEY: 'KEY',
  PORT: String(port),
  HOST: '127.0.0.1',
});

before(async () => {
  if (skip) return;
  home = await mkdtemp(join(tmpdir(), 'hv-application-'));
  server = await startTestServer({ templates: true, major: dumpMajor });
  port = await freePort();
  await rowsOf(server, 'postgres', `create database ${database}`);
  await migrateToFirstRelease();
  await rowsOf(
    server,
    database,
    `insert into organizations (key, name) values ('demo', 'Demo');
     insert into conversations (id, organization_id, subject) select '${conversation}', id, 'kept' from organizations;
     insert into messages (conversation_id, body) select '${conversation}', 'message ' || i from generate_series(1, 200) i`,
  );
  const made = await helvino(
    ['init', '--url', server.url, '--path', 'repository', '--database', 'main'],
    here(),
  );
  assert.equal(made.status, 0, made.stderr);
  assert.equal((await helvino(['backup', '--kind', 'logical'], here())).status, 0);
});

after(async () => {
  if (home) await shell(`kill $(cat ${home}/app.pid)`);
  await server?.[Symbol.asyncDispose]();
  if (home) await rm(home, { recursive: true, force: true });
});

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const address = probe.address() as { port: number };
  probe.close();
  return address.port;
}

async function shell(command: string, env: Record<string, string> = {}): Promise<number> {
  const child = spawn('/bin/sh', ['-c', command], {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: 'ignore',
  });
  const [status] = (await once(child, 'exit')) as [number];
  return status;
}

async function migrateToFirstRelease(): Promise<void> {
  const first = '20260105090000_init';
  const old = join(home, 'migrations');
  await cp(join(folder, 'prisma/migrations', first), join(old, first), { recursive: true });
  assert.equal(await shell(`${process.execPath} src/migrate.ts --folder ${old}`, environment()), 0);
}

const variables = () =>
  Object.entries(environment())
    .map(([name, value]) => `${name}='${value}'`)
    .join(' ');

/** As docs/operations/application.md has it. */
async function configure(changes: Record<string, unknown> = {}): Promise<Record<string, string>> {
  const file = join(home, 'helvino.yaml');
  const config = parse(await readFile(file, 'utf8'));
  const application = {
    directory: folder,
    stop: `kill $(cat ${home}/app.pid)`,
    start: `${variables()} ${process.execPath} src/main.ts >>${home}/app.log 2>&1 & echo $! >${home}/app.pid`,
    migrate: `${variables()} npm run --silent migrate`,
    healthUrl: `http://127.0.0.1:${port}/health`,
    ...changes,
  };
  config.databases.main.application = application;
  await writeFile(file, stringify(config));
  return application as unknown as Record<string, string>;
}

const request = [
  ...['restore', '--to-database', database, '--dbname', database, '--confirm', database],
  ...['--identity', 'helvino-recovery-identity.txt'],
];
const pid = () => readFile(join(home, 'app.pid'), 'utf8');

async function subjects(): Promise<string[]> {
  const headers = { 'x-org-key': 'demo' };
  const answer = await fetch(`http://127.0.0.1:${port}/conversations`, { headers });
  assert.equal(answer.status, 200);
  const { conversations } = (await answer.json()) as { conversations: { subject: string }[] };
  return conversations.map(({ subject }) => subject);
}

test('a dump of the release before – restored, migrated, and the application answers from it', {
  skip,
}, async () => {
  const application = await configure();
  await rowsOf(server, database, 'delete from conversations');
  assert.equal(await shell(`${application.migrate}; ${application.start}`), 0);
  const before = await pid();
  const done = await helvino(request, here());
  assert.equal(done.status, 0, done.stdout + done.stderr);
  assert.match(done.stdout, /migrations ran/);
  assert.match(done.stdout, /\/health answers 200/);
  assert.notEqual(await pid(), before);
  assert.deepEqual(await subjects(), ['kept']);
  const history = 'select migration_name as name from _prisma_migrations order by 1';
  assert.deepEqual(await rowsOf(server, database, history), [
    { name: '20260105090000_init' },
    { name: '20260212101500_threads_tags_audit' },
  ]);
  const messages = await fetch(`http://127.0.0.1:${port}/conversations/${conversation}/messages?limit=500`, {
    headers: { 'x-org-key': 'demo' },
  });
  assert.equal(((await messages.json()) as { messages: unknown[] }).messages.length, 200);
});

test('migrations that are not run – the health check fails with the reason, swap undo brings back what was', {
  skip,
}, async () => {
  await configure({ migrate: [], healthTimeout: '5s' });
  await rowsOf(server, database, `update conversations set subject = 'before the restore'`);
  const failed = await helvinoJson(request, here());
  assert.deepEqual([failed.status === 0, failed.error?.code], [false, 'CHECK_FAILED']);
  assert.match(
    failed.error!.message,
    /answers 503.*migrations not applied: 20260212101500_threads_tags_audit/,
  );
  const kept = /helvino swap undo (\w+)/.exec(failed.error?.hint ?? '')?.[1];
  const undone = await helvino(['swap', 'undo', kept!, '--confirm', database], here());
  assert.equal(undone.status, 0, undone.stdout + undone.stderr);
  assert.deepEqual(await subjects(), ['before the restore']);
});
