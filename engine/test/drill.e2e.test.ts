/** Drills by plan on the real CLI: the whole checklist, and that everything that can be wrong is caught with its reason. */
import assert from 'node:assert/strict';
import { mkdir, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { verifyPages } from '../src/postgres/page-checksum.ts';
import { query } from './backup-fixture.ts';
import { helvino, helvinoJson } from './cli.ts';
import { type DrillLab, notPassed, said, startDrillLab } from './drill-lab.ts';

let lab: DrillLab;

/** Answers like the guide's API, with what the database holds asked by psql-less means: it only checks its environment. */
const application = `
import { createServer } from 'node:http';
if (process.env.BREAK) { console.error('cannot find module express'); process.exit(3); }
if (process.env.HELVINO_IDENTITY || process.env.SECRET_OF_OURS) process.exit(4);
const url = new URL(process.env.DATABASE_URL);
createServer((request, response) => {
  const answer = (status, body) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  if (request.url === '/health') return answer(200, { status: 'ok', database: url.pathname.slice(1), items: [{ n: 1 }, { n: 2 }] });
  if (request.url === '/api/org/demo/settings' && request.headers['x-internal-key'] === 'geheim') return answer(200, { key: 'demo', writeEnabled: true });
  if (request.url === '/conversations' && request.headers['x-org-key'] === 'demo') return answer(200, []);
  answer(401, { error: 'who are you?' });
}).listen(Number(process.env.PORT), '127.0.0.1');
`;

const good = `
  monthly:
    target: latest
    schedule: '0 5 1 * *'
    timeZone: Europe/Berlin
    objectives: { rto: 4h, rpo: 24h }
    operator: Ada
    approver: Grace
    assertions:
      - { name: all organizations, sql: select count(*) from organizations, expect: 20 }
      - { name: messages, sql: select count(*) from messages, expect: { min: 5000 } }
      - { name: none without a body, sql: "select not exists (select from messages where body = '')" }
    heartbeat: { table: heartbeat, column: at, maxAge: 1h }
    migrations: { check: 'test -n "$DATABASE_URL" && test -z "$SECRET_OF_OURS"' }
    application:
      command: '${process.execPath} app.mjs'
      readyTimeout: 2min
      guide: { internalKey: { env: INTERNAL_KEY } }
`;

process.env.INTERNAL_KEY = 'geheim';
process.env.SECRET_OF_OURS = 'not for commands';

before(async () => {
  lab = await startDrillLab();
  await writeFile(join(lab.home, 'app.mjs'), application);
  await lab.plans(good);
  await lab.backup();
});

after(async () => {
  await lab?.[Symbol.asyncDispose]();
});

test('a drill by plan to the latest moment – every item of the checklist, measured, kept; nothing is left behind', async () => {
  await query(
    lab.server,
    `insert into messages (org, body) values (1, 'later')`,
    'insert into heartbeat values (now())',
  );
  await lab.stream.upToNow();
  const { status, report } = await lab.drill('monthly');
  // Two tables have changed since the backup: that they are right cannot be known, and is not said.
  assert.deepEqual(
    report.checks.filter(({ state }) => state !== 'passed').map(({ name, state }) => `${name} ${state}`),
    ['row counts unproven', 'content unproven'],
    notPassed(report).join('\n'),
  );
  assert.match(said(report, 'row counts'), /public\.messages: 5000 rows then, 5001 now/);
  assert.equal(status, 2);
  assert.deepEqual(
    report.checks.map(({ name }) => name),
    [
      'stored WAL',
      'restore',
      'start',
      'recovery',
      'row counts',
      'content',
      'lost tables',
      'constraints',
      'sequences',
      'extensions',
      'schema',
      'amcheck',
      'assertion: all organizations',
      'assertion: messages',
      'assertion: none without a body',
      'heartbeat',
      'migrations',
      'application',
      'GET /health',
      'GET /api/org/demo/settings',
      'GET /conversations',
      'page checksums',
      'RTO',
      'RPO',
    ],
  );
  assert.deepEqual(report.checks.find(({ name }) => name === 'assertion: all organizations')!.queries, [
    { sql: 'select count(*) from organizations', result: '20' },
  ]);
  assert.deepEqual(
    report.phases!.map(({ name }) => name),
    ['prepare', 'restore', 'recover', 'verify', 'application', 'clean up'],
  );
  assert.ok(report.phases!.find(({ name }) => name === 'restore')!.bytes! > 100_000);
  const { measured, target, environment, operator, approver, plan, copy, objectives } = report;
  assert.ok(measured!.rtoSeconds! > report.recoverySeconds!);
  assert.ok(measured!.rpoSeconds! < 3600 && measured!.bytesPerSecond! > 0 && measured!.requests! > 5);
  assert.deepEqual([target!.asked, target!.kind], ['latest', 'latest']);
  assert.ok(target!.lsn && target!.time);
  assert.ok(environment!.cpus > 0);
  assert.deepEqual([operator, approver, plan, copy], ['Ada', 'Grace', 'monthly', 'main']);
  assert.deepEqual(objectives, { rtoSeconds: 14_400, rpoSeconds: 86_400 });
});

test('a drill by plan to the end of the backup – proven', async () => {
  const { status, report } = await lab.drill('monthly', '--to', 'backup', '--operator', 'Bob');
  assert.deepEqual(report.checks.find(({ name }) => name === 'row counts')!.queries![0], {
    sql: 'select count(*) from only "public"."messages" -- postgres',
    result: '5000; at the source 5000',
  });
  assert.deepEqual(notPassed(report), []);
  assert.deepEqual([status, report.verdict, report.operator], [0, 'proven', 'Bob']);
  assert.ok(report.prediction!.rtoSeconds > 0);
});

test('drill plans – with the next time that each is due', async () => {
  const { result } = await helvinoJson(['drill', 'plans'], { cwd: lab.home });
  const [plan] = result as unknown as Record<string, string>[];
  assert.deepEqual([plan!.name, plan!.database, plan!.target], ['monthly', 'main', 'latest']);
  assert.match(plan!.next!, /^\d{4}-\d\d-01T0[34]:00:00/);
});

const wrong = `
  broken:
    target: backup
    objectives: { rto: 1ms, rpo: 1ms }
    skip: [amcheck, content]
    assertions:
      - { name: more than there are, sql: select count(*) from organizations, expect: { min: 21 } }
      - { name: no such table, sql: select count(*) from nowhere }
      - { name: writes, sql: delete from messages returning 1 }
    heartbeat: { table: heartbeat, column: at, maxAge: 1ms }
    migrations: { check: 'echo 20261125_add_tags is pending; exit 1' }
    application: { command: '${process.execPath} app.mjs', env: { BREAK: '1' } }
  mismatch:
    target: random
    skip: [row counts, content, constraints, sequences, extensions, schema, amcheck, page checksums]
    application:
      command: '${process.execPath} app.mjs'
      http:
        - { path: /health, json: { status: ok, items.1.n: 2, items.length: 2 } }
        - { path: /health, json: { status: fine } }
        - { path: /conversations, headers: { x-org-key: other } }
  silent:
    target: backup
    skip: [row counts, content, constraints, sequences, extensions, schema, amcheck, page checksums]
    application: { command: 'echo listening soon; sleep 1000', readyTimeout: 1s }
`;

test('promises that do not hold, a missing migration, an application that does not start – each is named with its reason', async () => {
  await lab.plans(wrong);
  const { status, report } = await lab.drill('broken', '--remediation', 'none yet');
  assert.deepEqual([status, report.verdict], [1, 'failed']);
  assert.match(said(report, 'assertion: more than there are'), /^failed: it is 20, expected was at least 21/);
  assert.match(said(report, 'assertion: no such table'), /^failed: relation "nowhere" does not exist/);
  assert.match(
    said(report, 'assertion: writes'),
    /^failed: cannot execute DELETE in a read-only transaction/,
  );
  assert.match(said(report, 'heartbeat'), /^failed: the newest row is of .* before the wanted moment/);
  assert.match(
    said(report, 'migrations'),
    /^failed: migrations are missing: .* ended with status 1\n20261125_add_tags is pending/,
  );
  assert.match(said(report, 'application'), /^failed: .* ended with status 3\ncannot find module express/);
  assert.equal(said(report, 'GET /health'), 'unproven: the application did not start');
  assert.equal(said(report, 'amcheck'), 'unproven: left out by the plan');
  assert.equal(said(report, 'RTO'), 'unproven: the application did not answer, so it was not measured');
  assert.match(said(report, 'RPO'), /^failed: the newest heartbeat is/);
  assert.match(said(report, 'row counts'), /^passed/);
  assert.match(report.issue!.findings.join('\n'), /^migrations: /m);
  assert.equal(report.issue!.remediation, 'none yet');

  const again = (await lab.drill('broken')).report;
  assert.equal(again.issue!.retestOf, report.id, 'the one that failed is repeated');
});

test('a random moment of the window, and answers that are not as expected – the moment is recorded; the difference is named', async () => {
  const { report } = await lab.drill('mismatch');
  assert.deepEqual([report.target!.asked, report.verdict], ['random', 'failed']);
  assert.ok(
    Date.parse(report.target!.time!) > 0 && /^[0-9A-F]+\//.test(report.target!.lsn!),
    JSON.stringify(report.target),
  );
  const asked = report.checks.filter(({ name }) => name.startsWith('GET '));
  assert.deepEqual(
    asked.map(({ state, detail }) => `${state}: ${detail}`),
    [
      'passed: status 200, 3 values as expected',
      'failed: status is "ok", expected was "fine"',
      'failed: the status is 401, expected was 200',
    ],
  );
  const { report: silent } = await lab.drill('silent');
  assert.match(
    said(silent, 'application'),
    /^failed: \/health did not answer within 1\.0 s: .*\nlistening soon/,
  );
});

test('a drill that is stopped while its application runs – nothing is left: no data, no server, no application', async () => {
  await lab.plans(
    wrong
      .replace('echo listening soon; sleep 1000', () => 'echo $$ > application.pid; sleep 1000')
      .replace('1s', '10min'),
  );
  const stop = new AbortController();
  const words = [
    'drill',
    '--plan',
    'silent',
    '--identity',
    'helvino-recovery-identity.txt',
    '--directory',
    'scratch',
  ];
  const running = helvino(words, { cwd: lab.home, signal: stop.signal });
  let pid = 0;
  for (let i = 0; i < 1200 && !pid; i++) {
    await sleep(50);
    pid = Number(await readFile(join(lab.home, 'application.pid'), 'utf8').catch(() => ''));
  }
  assert.ok(pid > 0);
  stop.abort();
  assert.equal((await running).status, 130);
  assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
  assert.deepEqual(await readdir(join(lab.home, 'scratch')), []);
  await lab.plans(wrong);
});

test('a moment that cannot be reached, a key that is not the right one – the first is a finding, the second is none', async () => {
  const { status, report } = await lab.drill('broken', '--to', '2090-01-01 00:00Z');
  assert.deepEqual([status, report.verdict], [1, 'failed']);
  assert.match(said(report, 'target'), /^failed: .*2090.* cannot be reached/);
  const other = await helvinoJson(
    ['init', '--url', lab.server.url, '--path', 'repository', '--database', 'other'],
    {
      cwd: await otherHome(),
    },
  );
  assert.ok(other.ok, JSON.stringify(other));
  const key = join(lab.home, 'other', 'helvino-recovery-identity.txt');
  const answer = await helvinoJson(['drill', '--plan', 'broken', '--identity', key], { cwd: lab.home });
  assert.deepEqual([answer.status, answer.error?.code], [77, 'KEY_WRONG'], JSON.stringify(answer));
  const { result } = await helvinoJson(['drill', 'list'], { cwd: lab.home });
  assert.match(JSON.stringify(result), new RegExp(report.id), 'what failed is kept');
});

async function otherHome(): Promise<string> {
  await mkdir(join(lab.home, 'other'));
  return join(lab.home, 'other');
}

test('a table that is lost, WAL that is missing – both are caught, though recovery comes to an end', async () => {
  await lab.plans(good);
  await query(lab.server, 'drop table messages');
  await lab.stream.upToNow();
  const lost = (await lab.drill('monthly')).report;
  assert.equal(lost.verdict, 'failed');
  assert.match(said(lost, 'assertion: messages'), /^failed: relation "messages" does not exist/);
  assert.match(said(lost, 'schema'), /table public\.messages is missing/);
  assert.match(
    said(lost, 'lost tables'),
    /^unproven: 1 of 4 tables .*\npostgres: public\.messages was dropped or rewritten by transaction \d+ at .*: before:xid:\d+ has it/,
  );
  assert.match(said(lost, 'row counts'), /public\.messages: it had 5000 rows, and is not there any more/);

  for (let i = 0; i < 3; i++)
    await query(lab.server, 'insert into heartbeat values (now())', 'select pg_switch_wal()');
  await lab.stream.upToNow();
  await removeMiddleSegment(join(lab.home, 'repository', 'wal'));
  const { status, report } = await lab.drill('monthly');
  assert.equal(status, 1);
  assert.match(
    said(report, 'stored WAL'),
    /^failed: WAL of timeline 1 is missing from \S+ to \S+: nothing after it can be recovered/,
  );
  assert.match(said(report, 'recovery'), /^passed/);
});

/** The last whole segment but one. */
async function removeMiddleSegment(folder: string): Promise<void> {
  const names = (await readdir(folder, { recursive: true }))
    .filter((name) => /[0-9A-F]{8}/i.test(name))
    .sort();
  const segments = names.filter((name) => !name.endsWith('.part'));
  assert.ok(segments.length > 3, names.join(' '));
  await rm(join(folder, segments.at(-3)!));
}

test('a page of a table, one of an index, and a row of the catalog, damaged before the backup – each is named, by each check that sees it', async () => {
  await lab.plans(good, '{ verifyChecksums: false }');
  const { server } = lab;
  await query(
    server,
    'create table damaged (id int primary key, body text)',
    `insert into damaged select i, md5(i::text) from generate_series(1, 5000) i`,
    'create table sorted (body text)',
    `insert into sorted select md5(i::text) from generate_series(1, 5000) i`,
    'create index sorted_body on sorted (body)',
    'create table hidden as select 1 as i',
    'checkpoint',
  );
  const { rows } = await query<{ heap: string; index: string }>(
    server,
    `select pg_relation_filepath('damaged') as heap, pg_relation_filepath('sorted_body') as index`,
  );
  await server.stop('fast');
  await damage(join(server.dataDir, rows[0]!.heap), { block: 3, seal: false });
  await damage(join(server.dataDir, rows[0]!.index), { block: 5, seal: true });
  await server.start();
  await hide(server, 'hidden');
  await lab.backup('--full');
  const { report } = await lab.drill('monthly', '--to', 'backup');
  assert.equal(report.verdict, 'failed');
  assert.match(said(report, 'amcheck'), /public\.sorted_body: /);
  assert.match(said(report, 'amcheck'), /public\.damaged: invalid page in block 3/);
  const pages = said(report, 'page checksums');
  assert.match(pages, new RegExp(`^failed: 1 of .*\n${rows[0]!.heap}, block 3`));
  assert.match(
    said(report, 'row counts'),
    /^failed: .*public\.hidden: 1 rows in the source, absent restored/s,
  );
  assert.match(said(report, 'schema'), /^failed: .*table public\.hidden is missing/s);

  await query(server, 'insert into heartbeat values (now())');
  await lab.stream.upToNow();
  const later = (await lab.drill('monthly')).report;
  assert.match(
    said(later, 'lost tables'),
    /^failed: 1 table of \d+ lost\npostgres: public\.hidden is missing, and no transaction in the WAL has dropped it/,
  );
});

/** On the disk the catalog does not know the table any more; the running server still has the page as it was. */
async function hide(server: DrillLab['server'], table: string): Promise<void> {
  const { rows } = await query<{ path: string; block: number; item: number }>(
    server,
    `select pg_relation_filepath('pg_class') as path, (ctid::text::point)[0]::int as block, (ctid::text::point)[1]::int as item
     from pg_class where relname = '${table}'`,
  );
  const { path, block, item } = rows[0]!;
  // Reading has set hints: written now, the page in memory stays clean, and does not go over ours.
  await query(server, 'select count(*) from pg_class', 'checkpoint');
  await using file = await open(join(server.dataDir, path), 'r+');
  const page = Buffer.alloc(8192);
  await file.read(page, 0, 8192, block * 8192);
  page.writeUInt32LE(0, 24 + (item - 1) * 4);
  page.writeUInt16LE(verifyPages(page, block)[0]!.expected, 8);
  await file.write(page, 0, 8192, block * 8192);
}

/** Letters in the last quarter of a page become others; `seal`: with a checksum that is right again. */
async function damage(path: string, { block, seal }: { block: number; seal: boolean }): Promise<void> {
  await using file = await open(path, 'r+');
  const page = Buffer.alloc(8192);
  await file.read(page, 0, 8192, block * 8192);
  for (let i = 7000; i < 7600; i++) if (page[i]! >= 0x61 && page[i]! <= 0x66) page[i] = 0x7a;
  if (seal) page.writeUInt16LE(verifyPages(page, block)[0]!.expected, 8);
  await file.write(page, 0, 8192, block * 8192);
}
