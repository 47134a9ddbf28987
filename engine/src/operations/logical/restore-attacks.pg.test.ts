/** Dumps and their restores against names, sessions, limits and signals that want to make them fail or lie. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Fixture, makeFixture, withClient } from '../../../test/backup-fixture.ts';
import {
  dumpMajor,
  makeShop,
  restoreDump,
  rowsOf,
  takeDump,
  withoutPgDump,
} from '../../../test/logical-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { silentProgress } from '../../base/progress.ts';
import { quoteIdentifier, resolveConnection } from '../../postgres/index.ts';
import type { Manifest } from '../../repository/index.ts';
import { noApplication } from './application.ts';
import { connectAside } from './restore-database.ts';
import { swapDatabases } from './swap.ts';

const skip = await withoutPgDump();
let fixture: Fixture;
let server: TestServer;
let dump: Manifest;

before(async () => {
  if (skip) return;
  fixture = await makeFixture();
  server = await startTestServer({ templates: true, major: dumpMajor });
  await makeShop(server);
  dump = await takeDump(fixture, server, { databases: ['shop'] });
});

after(async () => {
  await server?.[Symbol.asyncDispose]();
  await fixture?.[Symbol.asyncDispose]();
});

const as = (role: string) => resolveConnection({ url: server.url.replace('postgres@', `${role}@`) }, {});
const namesLike = async (pattern: string) =>
  (
    await rowsOf<{ n: string }>(
      server,
      'postgres',
      `select datname as n from pg_database where datname like '${pattern}' order by 1`,
    )
  ).map(({ n }) => n);

test('names of databases that are connection strings, options, paths or odd – dumped, restored over, nothing else touched', {
  skip,
}, async () => {
  const names = ['application_name=x host=192.0.2.1 connect_timeout=2', '-x --help', `O'"Neil\\%d\n../é`];
  for (const name of names) {
    await rowsOf(server, 'postgres', `create database ${quoteIdentifier(name)}`);
    await rowsOf(server, name, 'create table t as select 1 as i');
  }
  // The first is the one that pg_dumpall connects to.
  await takeDump(fixture, server, { databases: names.slice(0, 1), fingerprint: 'off' });
  const manifest = await takeDump(fixture, server, { databases: names });
  for (const name of names) {
    await rowsOf(server, name, 'delete from t');
    const { keptAs } = await restoreDump(
      fixture,
      { server, manifest, dbname: name },
      { database: name, globals: true },
    );
    assert.deepEqual(await rowsOf(server, name, 'select count(*) as n from t'), [{ n: '1' }], name);
    assert.deepEqual(await rowsOf(server, keptAs!, 'select count(*) as n from t'), [{ n: '0' }], name);
  }
});

test('a session that the role may not end, as that of autovacuum – waited for, not fatal', {
  skip,
}, async () => {
  await rowsOf(server, 'postgres', 'create role landlord login createdb');
  for (const name of ['leased', 'leased_new'])
    await rowsOf(server, 'postgres', `create database ${name} owner landlord`);
  const client = await connectAside(await as('landlord'), { signal: new AbortController().signal });
  try {
    const theirs = withClient(server, (superuser) => superuser.query('select pg_sleep(1)'), 'leased');
    await sleep(200);
    const mark = { helvino: 'replaced', name: 'leased', by: 'test', at: '', comment: null } as const;
    const swap = { name: 'leased', replacement: 'leased_new', keepAs: 'leased_old', mark, comment: null };
    await swapDatabases(client, swap);
    await theirs;
  } finally {
    await client.end();
  }
  assert.deepEqual(await namesLike('leased%'), ['leased', 'leased_old']);
});

test('time limits of the role – do not end what is done around loading', { skip }, async () => {
  await rowsOf(server, 'postgres', 'create role hurried login superuser');
  await rowsOf(server, 'postgres', "alter role hurried set idle_session_timeout = '100ms'");
  const progress = { ...silentProgress, phase: (name: string) => slowly(name, 'gathering statistics') };
  const result = await restoreDump(
    fixture,
    { server, manifest: dump },
    { database: 'hurried', connection: await as('hurried'), progress },
  );
  assert.ok(result.steps.includes('named it hurried'));
});

/** Longer than the limit above, with nothing said to the server meanwhile. */
function slowly(name: string, wanted: string): void {
  if (name === wanted) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
}

test('stop commands – what was stopped is started again when another fails; what never was, is not', {
  skip,
}, async () => {
  const log = join(fixture.home, 'stops');
  const start = [`echo start >> ${log}`];
  const restoreWith = (stop: string[]) =>
    restoreDump(
      fixture,
      { server, manifest: dump },
      { database: 'stops', application: { ...noApplication, start, stop } },
    );
  await assert.rejects(restoreWith(['exit 3', `echo stop >> ${log}`]), { code: 'CHECK_FAILED' });
  await assert.rejects(readFile(log), { code: 'ENOENT' });
  await assert.rejects(restoreWith([`echo stop >> ${log}`, 'exit 3']), { code: 'CHECK_FAILED' });
  assert.equal(await readFile(log, 'utf8'), 'stop\nstart\n');
  assert.deepEqual(await namesLike('stops%'), []);
});

test('stopped while it compares – no database is left', { skip }, async () => {
  const stop = new AbortController();
  const progress = {
    ...silentProgress,
    phase: (name: string) => name === 'gathering statistics' && stop.abort(),
  };
  await assert.rejects(
    restoreDump(fixture, { server, manifest: dump }, { database: 'compared', progress, signal: stop.signal }),
    { name: 'AbortError' },
  );
  assert.deepEqual(await namesLike('compared%'), []);
});

test('over a database without its rights – settings and rights of the one that is replaced stay', {
  skip,
}, async () => {
  await rowsOf(server, 'postgres', 'create database own_rights');
  await rowsOf(server, 'postgres', 'revoke connect on database own_rights from public');
  await rowsOf(server, 'postgres', "alter database own_rights set search_path = 'mine'");
  await restoreDump(fixture, { server, manifest: dump }, { database: 'own_rights', rights: false });
  const facts = await rowsOf(
    server,
    'own_rights',
    `select has_database_privilege('public', datname, 'connect') as open, current_setting('search_path') as path
     from pg_database where datname = current_database()`,
  );
  assert.deepEqual(facts, [{ open: false, path: 'mine' }]);
});

test('roles that are there by the hundred – do not silently hide those that could not be made', {
  skip,
}, async () => {
  const many = Array.from({ length: 150 }, (_, i) => `create role tenant_${i};`).join('');
  await rowsOf(
    server,
    'postgres',
    `create role a_chief superuser; create role steward login createrole createdb; ${many}`,
  );
  const manifest = await takeDump(fixture, server, { databases: ['shop'] });
  await rowsOf(server, 'postgres', 'drop role a_chief');
  const result = await restoreDump(
    fixture,
    { server, manifest },
    { database: 'with_roles', connection: await as('steward'), globals: true, owners: false, rights: false },
  );
  assert.match(result.warnings.join('\n'), /\d+ earlier lines about roles were not kept/);
});
