import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createDemoTables, demoLoad, loadDemoRows } from '../src/operations/demo/demo-data.ts';
import { withClient } from './backup-fixture.ts';
import { rowsOf } from './logical-fixture.ts';
import { startTestServer, type TestServer } from './pg-server.ts';

const folder = fileURLToPath(new URL('../../reference-app/', import.meta.url));
const size = { organizations: 4, conversations: 40, messages: 400 };
let server: TestServer;

before(async () => {
  server = await startTestServer({ templates: true, major: 18 });
  await rowsOf(server, 'postgres', 'create database demo');
  await rowsOf(server, 'postgres', 'create database fresh');
  const fill = async (client: Parameters<typeof createDemoTables>[0]) => {
    await createDemoTables(client);
    await loadDemoRows(client, size);
    await demoLoad(client, size);
  };
  await withClient(server, fill, 'demo');
});

after(() => server?.[Symbol.asyncDispose]());

function startApp(program: string, database: string) {
  const env = {
    DATABASE_URL: server.url.replace(/[^/]*$/, database),
    INTERNAL_KEY: 'KEY',
    PORT: '0',
    HOST: '127.0.0.1',
  };
  return spawn(process.execPath, [`src/${program}.ts`], { cwd: folder, env: { ...process.env, ...env } });
}

async function migrate(database: string): Promise<string> {
  const child = startApp('migrate', database);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (said += chunk));
  const [status] = await once(child, 'close');
  assert.equal(status, 0, said);
  return said;
}

const shape = `select what from (
  select format('%s.%s %s %s %s', table_name, column_name, udt_name, is_nullable, column_default) as what
    from information_schema.columns where table_schema = 'public'
  union all select format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint
    where connamespace = 'public'::regnamespace
  union all select indexdef from pg_indexes where schemaname = 'public'
  union all select format('%s %s', enumtypid::regtype, enumlabel) from pg_enum) as all_of_it
  where what !~ 'phrases|^_prisma' order by what`;

test('the demo’s tables – once migrated, exactly those of the application; the application answers from them', async () => {
  assert.match(await migrate('demo'), /^applied 20260212101500_threads_tags_audit\n.*1 of them new/);
  await migrate('fresh');
  assert.deepEqual(await rowsOf(server, 'demo', shape), await rowsOf(server, 'fresh', shape));
  const strangers = `select m.id from messages m join conversations c on c.id = m.conversation_id
    join users u on u.id = m.author_id where u.organization_id <> c.organization_id`;
  assert.deepEqual(await rowsOf(server, 'demo', strangers), []);
  const app = startApp('main', 'demo');
  try {
    const [first] = (await once(app.stdout, 'data')) as [Buffer];
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(String(first))?.[0];
    const health = await fetch(`${url}/health`);
    assert.equal(health.status, 200, await health.text());
    const headers = { 'x-org-key': 'demo' };
    const { conversations } = (await (await fetch(`${url}/conversations`, { headers })).json()) as {
      conversations: { id: string }[];
    };
    assert.equal(conversations.length, size.conversations / size.organizations);
    const written = await fetch(`${url}/conversations/${conversations[0]!.id}/messages`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify({ author: 'ada@example.com', body: 'found it' }),
    });
    assert.equal(written.status, 201, await written.text());
  } finally {
    app.kill('SIGTERM');
  }
});
