/** Drills by plan on the real CLI: the whole checklist, and that everything that can be wrong is caught with its reason. */
import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { query } from './backup-fixture.ts';
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
  if (request.url === '/api/org/demo/settings' && request.headers['x-internal-key'] === 'geheim') return answer(200, { writeEnabled: true });
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

const scratches = async () => (await readdir(tmpdir())).filter((name) => name.startsWith('helvino-drill-'));

test('a drill by plan to the latest moment – every item of the checklist, measured, kept; nothing is left behind', async () => {
  const left = await scratches();
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
  assert.deepEqual(await scratches(), left);
});

test('a drill by plan to the end of the backup – proven', async () => {
  const { status, report } = await lab.drill('monthly', '--to', 'backup', '--operator', 'Bob');
  assert.deepEqual(notPassed(report), []);
  assert.deepEqual([status, report.verdict, report.operator], [0, 'proven', 'Bob']);
  assert.ok(report.prediction!.rtoSeconds > 0);
});
