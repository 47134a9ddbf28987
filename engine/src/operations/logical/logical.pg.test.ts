import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Fixture, makeFixture, notPassed } from '../../../test/backup-fixture.ts';
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
import { logicalFacts } from '../../catalog/index.ts';
import { resolveConnection } from '../../postgres/index.ts';
import type { Manifest } from '../../repository/index.ts';
import { verify } from '../verify/verify.ts';
import { noApplication } from './application.ts';
import { dumpInBackup } from './dump-source.ts';
import { connectAside } from './restore-database.ts';
import { dropKept, findKept, listKept, undoSwap } from './swap.ts';

const skip = await withoutPgDump();
const signal = new AbortController().signal;
let fixture: Fixture;
let server: TestServer;
let dump: Manifest;

before(async () => {
  if (skip) return;
  fixture = await makeFixture();
  server = await startTestServer({ templates: true, major: dumpMajor });
  await makeShop(server);
  dump = await takeDump(fixture, server);
});

after(async () => {
  await server?.[Symbol.asyncDispose]();
  await fixture?.[Symbol.asyncDispose]();
});

const passed = (result: { checks: readonly { state: string }[] }) =>
  result.checks.map((check) => check.state);
const counts = (database: string) =>
  rowsOf<{ o: string; m: string; x: string }>(
    server,
    database,
    `select (select count(*) from public.organizations) as o, (select count(*) from public.messages) as m,
       (select count(*) from shop_stuff."odd Name") as x`,
  );

test('a dump – every database, roles, and the content of its own snapshot', { skip }, async () => {
  const facts = logicalFacts(dump);
  assert.deepEqual(
    facts.databases.map((d) => d.name),
    ['postgres', 'shop'],
  );
  assert.deepEqual(
    [facts.globals, facts.fingerprint.state, facts.format],
    ['with passwords', 'taken', 'custom'],
  );
  const tables = Object.keys(await fixture.recorded(dump)).sort();
  assert.deepEqual(tables, [
    'shop.pg_catalog.pg_largeobject',
    'shop.public.messages',
    'shop.public.organizations',
    'shop.shop_stuff.odd Name',
  ]);
});

for (const format of ['custom', 'directory', 'plain'] as const) {
  for (const jobs of format === 'plain' ? [1] : [1, 2]) {
    test(`restore of the format ${format}, ${jobs} at a time – equal in rows and content`, {
      skip,
    }, async () => {
      const manifest =
        format === 'custom' ? dump : await takeDump(fixture, server, { format, databases: ['shop'] });
      // Rows that come after the dump must not disturb the comparison.
      const database = `copy_${format}_${jobs}`;
      const result = await restoreDump(fixture, { server, manifest }, { database, jobs });
      assert.deepEqual(passed(result), ['passed', 'passed'], JSON.stringify(result.checks));
      assert.deepEqual(await counts(database), [{ o: '500', m: '20000', x: '2' }]);
      assert.deepEqual(result.warnings, []);
      const [facts] = await rowsOf<{ owner: string; open: boolean; path: string }>(
        server,
        database,
        `select pg_get_userbyid(datdba) as owner, has_database_privilege('public', datname, 'connect') as open,
           current_setting('search_path') as path from pg_database where datname = current_database()`,
      );
      assert.deepEqual(facts, { owner: 'keeper', open: false, path: 'shop_stuff, public' });
    });
  }
}

test('restore over a database – swapped at once, kept, brought back, dropped', { skip }, async () => {
  const url = await resolveConnection({ url: server.url }, {});
  await restoreDump(fixture, { server, manifest: dump }, { database: 'live' });
  await rowsOf(server, 'live', `delete from public.messages; comment on database live is 'ours'`);
  const result = await restoreDump(fixture, { server, manifest: dump }, { database: 'live' });
  assert.equal((await counts('live'))[0]!.m, '20000');
  assert.match(result.keptAs!, /^live_before_\d{8}_\d{6}$/);
  assert.equal((await counts(result.keptAs!))[0]!.m, '0');
  const client = await connectAside(url, { signal });
  try {
    const [kept] = await listKept(client);
    assert.deepEqual([kept!.kept, kept!.name, kept!.comment], [result.keptAs, 'live', 'ours']);
    const back = await undoSwap(client, await findKept(client, result.keptAs!), new Date());
    assert.equal((await counts('live'))[0]!.m, '0');
    assert.equal((await counts(back))[0]!.m, '20000');
    const [comment] = await rowsOf<{ c: string }>(
      server,
      'live',
      `select shobj_description(oid, 'pg_database') as c from pg_database where datname = 'live'`,
    );
    assert.equal(comment!.c, 'ours');
    await dropKept(client, await findKept(client, back));
    assert.deepEqual(await listKept(client), []);
    await assert.rejects(findKept(client, back), { code: 'USAGE' });
  } finally {
    await client.end();
  }
});

test('restore over a database that clients keep connecting to – swapped all the same', { skip }, async () => {
  await restoreDump(fixture, { server, manifest: dump }, { database: 'busy' });
  let stopped = false;
  const clients = [1, 2, 3].map(async () => {
    while (!stopped) await rowsOf(server, 'busy', 'select pg_sleep(0.05)').catch(() => undefined);
  });
  try {
    const result = await restoreDump(fixture, { server, manifest: dump }, { database: 'busy' });
    assert.ok(result.keptAs);
  } finally {
    stopped = true;
    await Promise.all(clients);
  }
});

test('chosen tables – with their keys and indexes, into a new database only', { skip }, async () => {
  const selection = { schemas: [], tables: ['public.organizations'] };
  const result = await restoreDump(fixture, { server, manifest: dump }, { database: 'some', selection });
  assert.deepEqual(
    result.tables.map((t) => [t.table, t.rows]),
    [['organizations', '500']],
  );
  assert.deepEqual(passed(result), ['passed', 'passed']);
  const keys = await rowsOf<{ n: string }>(
    server,
    'some',
    `select conname as n from pg_constraint where connamespace = 'public'::regnamespace order by 1`,
  );
  assert.deepEqual(
    keys.map((k) => k.n),
    ['organizations_name_key', 'organizations_pkey'],
  );
  await assert.rejects(restoreDump(fixture, { server, manifest: dump }, { database: 'some', selection }), {
    code: 'USAGE',
    message: /alone cannot replace it/,
  });
});

test('a chosen schema – nothing else', { skip }, async () => {
  const selection = { schemas: ['shop_stuff'], tables: [] };
  const result = await restoreDump(
    fixture,
    { server, manifest: dump },
    { database: 'one_schema', selection },
  );
  assert.deepEqual(
    result.tables.map((t) => `${t.schema}.${t.table} ${t.rows}`),
    ['shop_stuff.odd Name 2'],
  );
});

test('the steps of the application – stop, migrate, start, health, in order', { skip }, async () => {
  const log = join(fixture.home, 'steps');
  const listener = createServer((_, answer) => answer.writeHead(200).end('ok')).listen(0, '127.0.0.1');
  await new Promise((resolve) => listener.once('listening', resolve));
  const { port } = listener.address() as { port: number };
  const application = {
    ...noApplication,
    stop: [`echo stop >> ${log}`],
    migrate: [`echo migrate >> ${log}`],
    start: [`echo start >> ${log}; sleep 100 &`],
    healthUrl: `http://127.0.0.1:${port}/health`,
    healthTimeoutMs: 20_000,
  };
  try {
    const result = await restoreDump(
      fixture,
      { server, manifest: dump },
      { database: 'with_steps', application },
    );
    assert.match(result.steps.join('; '), /migrations ran; the application was started; .*answers 200/);
    assert.equal(await readFile(log, 'utf8'), 'stop\nmigrate\nstart\n');
    const bad = { ...application, migrate: ['echo no such column >&2; exit 3'] };
    await assert.rejects(
      restoreDump(fixture, { server, manifest: dump }, { database: 'with_steps', application: bad }),
      {
        code: 'CHECK_FAILED',
        message: /ended with status 3: no such column; the application is still stopped/,
        hint: /swap undo with_steps_before_/,
      },
    );
  } finally {
    listener.close();
  }
});

test('a dump that fails midway – no backup, and nothing is left behind', { skip }, async () => {
  const before = await fixture.repository.backups('main');
  const bin = join(fixture.home, 'bin');
  await mkdir(bin, { recursive: true });
  const real = `/usr/lib/postgresql/${dumpMajor}/bin`;
  for (const name of ['pg_dumpall', 'pg_restore', 'psql']) {
    await writeFile(join(bin, name), `#!/bin/sh\nexec ${real}/${name} "$@"\n`);
  }
  const half = (end: string) =>
    `#!/bin/sh\n[ "$1" = --version ] && exec ${real}/pg_dump --version\n${real}/pg_dump "$@" | head -c 200000; ${end}\n`;
  const ends = { 'status 1': 'exit 1', 'a signal': 'kill -9 $$' };
  for (const [what, end] of Object.entries(ends)) {
    await writeFile(join(bin, 'pg_dump'), half(end));
    for (const name of ['pg_dump', 'pg_dumpall', 'pg_restore', 'psql']) await chmod(join(bin, name), 0o755);
    await assert.rejects(
      takeDump(fixture, server, { binDirs: [bin], databases: ['shop'] }),
      { code: 'SERVER_ERROR', message: /pg_dump 15.* (ended with status 1|was ended by SIGKILL)/ },
      what,
    );
  }
  // The exit status lies: the end of the dump is missing.
  await writeFile(join(bin, 'pg_dump'), half('exit 0'));
  await assert.rejects(takeDump(fixture, server, { binDirs: [bin], databases: ['shop'], format: 'plain' }), {
    code: 'PROTOCOL',
    message: /breaks off/,
  });
  assert.deepEqual(await fixture.repository.backups('main'), before);
});

test('a table that the role may not read – the dump fails and says so', { skip }, async () => {
  await rowsOf(server, 'postgres', 'create role poor login; grant connect on database shop to poor');
  const connection = await resolveConnection({ url: server.url.replace('postgres@', 'poor@') }, {});
  await assert.rejects(takeDump(fixture, server, { connection, databases: ['shop'] }), {
    code: 'SERVER_ERROR',
    message: /permission denied/,
  });
});

test('rows that differ after the restore – nothing is replaced', { skip }, async () => {
  const { repository, identities } = fixture;
  const source = await dumpInBackup(repository, { manifest: dump, identities, name: 'shop' });
  const recorded = source.recorded.map((t) =>
    t.table === 'messages' ? { ...t, rows: '19999', hash: '1' } : t,
  );
  await restoreDump(fixture, { server, manifest: dump }, { database: 'careful' });
  await assert.rejects(
    restoreDump(
      fixture,
      { server, manifest: dump },
      { database: 'careful', source: { ...source, recorded } },
    ),
    { code: 'CHECK_FAILED', message: /is not what was dumped/, hint: /left as careful_restoring_/ },
  );
  const names = await rowsOf<{ n: string }>(
    server,
    'postgres',
    `select datname as n from pg_database where datname like 'careful%'`,
  );
  assert.equal(names.length, 2);
});

test('a drill of a dump – proven; without the roles that it needs: unproven', { skip }, async () => {
  const report = await fixture.drillIt(dump);
  assert.deepEqual([report.verdict, notPassed(report)], ['proven', []]);
  assert.deepEqual(
    report.checks.map((check) => check.name),
    [
      'start',
      'roles',
      'restore',
      'row counts',
      'content',
      'constraints',
      'sequences',
      'extensions',
      'schema',
      'amcheck',
    ],
  );
  const plain = await takeDump(fixture, server, { format: 'plain', globals: false });
  const without = await fixture.drillIt(plain);
  assert.deepEqual(
    [without.verdict, without.checks.filter((check) => check.state !== 'passed').map((check) => check.name)],
    [
      'partly proven',
      [
        'roles',
        'restore',
        'row counts',
        'content',
        'constraints',
        'sequences',
        'extensions',
        'schema',
        'amcheck',
      ],
    ],
    JSON.stringify(without.checks),
  );
});

test('a restore that is stopped – no database is left, the one that was there stays, the application starts', {
  skip,
}, async () => {
  await restoreDump(fixture, { server, manifest: dump }, { database: 'stopped' });
  const stop = new AbortController();
  const log = join(fixture.home, 'stopped-steps');
  const application = { ...noApplication, stop: [`echo stop >> ${log}`], start: [`echo start >> ${log}`] };
  const progress = { ...silentProgress, advance: () => stop.abort() };
  await assert.rejects(
    restoreDump(
      fixture,
      { server, manifest: dump },
      { database: 'stopped', application, progress, signal: stop.signal },
    ),
    { code: 'INTERRUPTED' },
  );
  assert.equal(await readFile(log, 'utf8'), 'stop\nstart\n');
  const names = await rowsOf<{ n: string }>(
    server,
    'postgres',
    `select datname as n from pg_database where datname like 'stopped%'`,
  );
  assert.deepEqual(names, [{ n: 'stopped' }]);
});

test('the server dies while it is dumped – no backup', { skip }, async () => {
  await using other = await startTestServer({ templates: true, major: dumpMajor });
  await rowsOf(
    other,
    'postgres',
    `create table t as select i, repeat(md5(i::text), 30) as v from generate_series(1, 100000) i`,
  );
  const before = await fixture.repository.backups('main');
  let dying: Promise<void> | undefined;
  const advance = () => {
    dying ??= other.stop('immediate');
  };
  await assert.rejects(takeDump(fixture, other, { progress: { ...silentProgress, advance } }), {
    code: 'SERVER_ERROR',
    message: /pg_dump 15/,
  });
  await dying;
  assert.deepEqual(await fixture.repository.backups('main'), before);
});

test('verify reads a dump, too – every byte', { skip }, async () => {
  const report = await verify({
    repository: fixture.repository,
    identities: fixture.identities,
    readData: true,
    progress: silentProgress,
    signal,
  });
  assert.deepEqual([report.verdict, report.depth], ['passed', 'every byte'], JSON.stringify(report));
});

test('physical backups beside dumps – each builds on its own kind', { skip }, async () => {
  const full = await fixture.takeBackup(server);
  await takeDump(fixture, server, { databases: ['shop'] });
  const next = await fixture.takeBackup(server);
  assert.equal(next.parent, full.id);
});

test('a server without its pg_dump here – the package to install is named', async (t) => {
  await using other = await startTestServer({ templates: true, major: 17 });
  await using place = await makeFixture();
  if (existsSync('/usr/lib/postgresql/17/bin/pg_dump')) return t.skip('pg_dump 17 is here');
  await assert.rejects(takeDump(place, other), {
    code: 'BINARIES_NOT_FOUND',
    hint: /apt-get install postgresql-client-17/,
  });
});
