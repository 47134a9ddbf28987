import assert from 'node:assert/strict';
import { appendFile, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { helvino, helvinoJson } from './cli.ts';
import { dumpMajor, makeShop, rowsOf, withoutPgDump } from './logical-fixture.ts';
import { startTestServer, type TestServer } from './pg-server.ts';

const skip = await withoutPgDump();
const identity = 'helvino-recovery-identity.txt';
let server: TestServer;
let home: string;
const here = () => ({ cwd: home });

before(async () => {
  if (skip) return;
  home = await mkdtemp(join(tmpdir(), 'hv-dump-'));
  server = await startTestServer({ templates: true, major: dumpMajor });
  await makeShop(server);
  const made = await helvino(
    ['init', '--url', server.url, '--path', 'repository', '--database', 'main'],
    here(),
  );
  assert.equal(made.status, 0, made.stdout + made.stderr);
});

after(async () => {
  await server?.[Symbol.asyncDispose]();
  if (home) await rm(home, { recursive: true, force: true });
});

test('backup --kind logical – listed and shown as what it is', { skip }, async () => {
  const taken = await helvino(['backup', '--kind', 'logical', '--label', 'nightly'], here());
  assert.equal(taken.status, 0, taken.stderr);
  assert.match(taken.stdout, /logical backup \S+ of main is complete/);
  assert.match(taken.stdout, /unproven until `helvino drill --kind logical`/);
  const list = await helvino(['list'], here());
  assert.match(list.stdout, /logical .* PG 15\S* custom: postgres, shop nightly/);
  const show = await helvino(['show', '--tables'], here());
  assert.match(show.stdout, /dumped +shop, /);
  assert.match(show.stdout, /public\.messages +20000/);
});

test('options of the other kind – refused, not passed over', { skip }, async () => {
  const one = await helvinoJson(['backup', '--to-folder', 'x'], here());
  assert.deepEqual([one.status, one.error?.message], [64, '--to-folder does not go with --kind physical']);
  const other = await helvinoJson(['backup', '--kind', 'logical', '--full'], here());
  assert.deepEqual([other.status, other.error?.message], [64, '--full does not go with --kind logical']);
});

test('restore of a dump into a directory, and of what is no dump – says what to do', { skip }, async () => {
  const wrong = await helvinoJson(['restore', '--to-directory', 'x', '--identity', identity], here());
  assert.deepEqual([wrong.status, wrong.error?.code], [66, 'BACKUP_NOT_FOUND']);
  const { result } = await helvinoJson(['list'], here());
  const [dump] = (result?.backups ?? []) as { id: string }[];
  const named = await helvinoJson(
    ['restore', dump!.id, '--to-directory', 'x', '--identity', identity],
    here(),
  );
  assert.deepEqual(
    [named.status, named.error?.hint?.split(',')[0]],
    [64, 'restore it with --to-database NAME'],
  );
});

test('restore --to-database – dry run, confirmation, swap, undo, confirm', { skip }, async () => {
  const request = ['restore', '--to-database', 'shop', '--dbname', 'shop', '--identity', identity];
  const dry = await helvino([...request, '--dry-run'], here());
  assert.equal(dry.status, 0, dry.stderr);
  assert.match(dry.stdout, /rename shop to shop_before_\d{8}_\d{6}, and the new one to shop/);
  assert.equal((await helvinoJson(request, here())).error?.code, 'CONFIRMATION_NEEDED');
  await rowsOf(server, 'shop', 'delete from public.messages');
  const done = await helvino([...request, '--confirm', 'shop'], here());
  assert.equal(done.status, 0, done.stdout + done.stderr);
  assert.match(done.stdout, /public\.messages +20000/);
  assert.match(done.stdout, /passed: row counts/);
  const listed = await helvinoJson(['swap', 'list'], here());
  const [kept] = (listed.result?.kept ?? []) as { kept: string; name: string }[];
  assert.equal(kept?.name, 'shop');
  const undone = await helvinoJson(['swap', 'undo', kept!.kept, '--confirm', 'shop'], here());
  assert.equal(undone.status, 0, JSON.stringify(undone));
  assert.deepEqual(await rowsOf(server, 'shop', 'select count(*) as n from public.messages'), [{ n: '0' }]);
  const back = String(undone.result?.keptAs);
  assert.equal((await helvinoJson(['swap', 'confirm', back], here())).error?.code, 'CONFIRMATION_NEEDED');
  assert.equal((await helvino(['swap', 'confirm', back, '--confirm', back], here())).status, 0);
  assert.deepEqual((await helvinoJson(['swap', 'list'], here())).result?.kept, []);
});

test('restore --to-database killed – what it left is named by list, doctor and the next restore; undo refuses it, confirm drops it', {
  skip,
}, async () => {
  await appendFile(
    join(home, 'helvino.yaml'),
    "    application: { stop: 'echo stop >> app.log', start: 'echo start >> app.log' }\n",
  );
  const request = [
    'restore',
    '--to-database',
    'shop',
    '--dbname',
    'shop',
    '--identity',
    identity,
    '--confirm',
    'shop',
  ];
  const powerCut = new AbortController();
  const running = helvino(request, { ...here(), kill: powerCut.signal });
  const names = () =>
    rowsOf<{ n: string }>(
      server,
      'postgres',
      "select datname as n from pg_database where datname ~ '_restoring_'",
    );
  while ((await names()).length === 0) await sleep(5);
  powerCut.abort();
  assert.equal((await running).status, null);
  const [{ n: left } = { n: '' }] = await names();
  assert.match(
    (await helvino(['swap', 'list'], here())).stdout,
    new RegExp(`${left} +shop .*left by a restore of`),
  );
  assert.match(
    (await helvino(['doctor'], here())).stdout,
    new RegExp(`restores: ${left} is what a restore of shop has left`),
  );
  const undo = await helvinoJson(['swap', 'undo', left, '--confirm', 'shop'], here());
  assert.deepEqual([undo.status, undo.error?.code], [64, 'USAGE']);
  const again = await helvino(request, here());
  assert.equal(again.status, 0, again.stdout + again.stderr);
  assert.match(again.stderr, new RegExp(`${left} is what an earlier restore has left`));
  assert.equal(await readFile(join(home, 'app.log'), 'utf8'), 'stop\nstop\nstart\n');
  assert.equal((await helvino(['swap', 'confirm', left, '--confirm', left], here())).status, 0);
  assert.deepEqual(await names(), []);
});

test('drill – of the dump when there is nothing else, proven; then list says so', { skip }, async () => {
  const drill = await helvino(['drill', '--identity', identity], here());
  assert.equal(drill.status, 0, drill.stdout + drill.stderr);
  assert.match((await helvino(['list'], here())).stdout, /proven on \d{4}-/);
});

test('drill by plan of a dump – its assertions, its age against the objective; an objective that is missed fails', {
  skip,
}, async () => {
  await appendFile(
    join(home, 'helvino.yaml'),
    `drills:
  dumps:
    kind: logical
    objectives: { rpo: 24h }
    assertions: [{ name: tables, sql: "select count(*) from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace", expect: { min: 0 } }]
    migrations: { check: 'test -n "$DATABASE_URL"' }
  late: { kind: logical, objectives: { rpo: 1ms }, skip: [content, amcheck] }
`,
  );
  const words = ['drill', '--identity', identity, '--plan'];
  const good = await helvinoJson([...words, 'dumps'], here());
  assert.deepEqual([good.status, good.result?.verdict], [0, 'proven'], JSON.stringify(good));
  const late = await helvinoJson([...words, 'late'], here());
  assert.equal(late.status, 1);
  const checks = late.result!.checks as { name: string; state: string; detail: string }[];
  assert.match(checks.find(({ name }) => name === 'RPO')!.detail, /^the end of the backup is .* older/);
  assert.deepEqual(
    checks.filter(({ state }) => state !== 'passed').map(({ name, state }) => `${name} ${state}`),
    ['content unproven', 'amcheck unproven', 'RPO failed'],
  );
});

test('backup --to-folder without any configuration – by the PG variables', { skip }, async () => {
  const env = { PGHOST: '127.0.0.1', PGPORT: String(server.port), PGUSER: 'postgres' };
  const elsewhere = await mkdtemp(join(tmpdir(), 'hv-folder-'));
  try {
    const args = ['backup', '--kind', 'logical', '--dbname', 'shop', '--to-folder', 'files'];
    const made = await helvino(args, { cwd: elsewhere, env });
    assert.equal(made.status, 0, made.stderr);
    const [file] = await readdir(join(elsewhere, 'files'));
    assert.match(file!, /^helvino_backup_\d{8}_\d{6}\.sql\.gz$/);
    const back = [
      'restore',
      '--from-file',
      join('files', file!),
      '--to-database',
      'from_file',
      '--url',
      server.url,
    ];
    const restored = await helvino(back, { cwd: elsewhere });
    assert.equal(restored.status, 0, restored.stderr);
    assert.match(restored.stdout, /unproven: row counts: a plain file/);
  } finally {
    await rm(elsewhere, { recursive: true });
  }
});
