/** The guide's checklist with the guide's application: Helvino's API, started against what was restored. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { query } from './backup-fixture.ts';
import { type DrillLab, notPassed, said, startDrillLab } from './drill-lab.ts';

const directory = fileURLToPath(new URL('../../reference-app/', import.meta.url));
const node = process.execPath;

const plan = `
  monthly:
    target: latest
    objectives: { rto: 1h, rpo: 24h }
    skip: [row counts, content]
    assertions:
      - { name: conversations, sql: select count(*) from conversations, expect: { min: 1 } }
    migrations: { check: '${node} src/migrate.ts --check', directory: '${directory}' }
    application:
      command: exec ${node} src/main.ts
      directory: '${directory}'
      env: { INTERNAL_KEY: { env: DRILL_INTERNAL_KEY }, WRITE_ENABLED: 'false', HOST: 127.0.0.1, LOG_LEVEL: warn }
      guide: { internalKey: { env: DRILL_INTERNAL_KEY } }
`;

let lab: DrillLab;
process.env.DRILL_INTERNAL_KEY = 'secret of the drill';

before(async () => {
  lab = await startDrillLab(async (server) => {
    const env = { ...process.env, DATABASE_URL: server.url };
    const run = (...args: string[]) => promisify(execFile)(node, args, { cwd: directory, env });
    await run('src/migrate.ts');
    await run('src/seed.ts', '--organizations', '2', '--messages', '300');
  });
  await lab.plans(plan);
  await lab.backup();
});

after(async () => {
  await lab?.[Symbol.asyncDispose]();
});

test('the application on the restored database – migrations, health, settings and conversations as the guide asks for them', async () => {
  await lab.stream.upToNow();
  const { report } = await lab.drill('monthly');
  assert.deepEqual(
    report.checks.filter(({ state }) => state !== 'passed').map(({ name }) => name),
    ['row counts', 'content'],
    notPassed(report).join('\n'),
  );
  assert.match(said(report, 'application'), /^passed: \/health answered after/);
  assert.match(said(report, 'GET /api/org/demo/settings'), /^passed: status 200, 1 value as expected/);
  assert.match(said(report, 'GET /conversations'), /^passed: status 200/);
  assert.doesNotMatch(JSON.stringify(report), /secret of the drill/);
});

test('a migration that is not applied – the check of migrations says which; the application is not healthy', async () => {
  await query(
    lab.server,
    `delete from _prisma_migrations where migration_name = (select max(migration_name) from _prisma_migrations)`,
  );
  await lab.stream.upToNow();
  await lab.plans(plan.replace('guide:', 'readyTimeout: 10s\n      guide:'));
  const { status, report } = await lab.drill('monthly');
  assert.deepEqual([status, report.verdict], [1, 'failed']);
  assert.match(
    said(report, 'migrations'),
    /^failed: migrations are missing: .*\nmigrations not applied: \d+/,
  );
  assert.match(said(report, 'application'), /^failed: \/health did not answer within 10 s: .*status 503/);
});
