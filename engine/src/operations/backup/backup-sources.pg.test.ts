/** What a source can be like: tablespaces, standby, TLS, few rights, odd names, never quiet. */
import assert from 'node:assert/strict';
import {
  appendFile,
  chmod,
  chown,
  mkdir,
  readdir,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  type Fixture,
  makeFixture,
  notPassed,
  query,
  serverContents,
  startRestored,
  withClient,
} from '../../../test/backup-fixture.ts';
import { makeCertificate } from '../../../test/certificates.ts';
import { untilSo } from '../../../test/failover.ts';
import { serverFolder, startTestServer, type TestServer, testServerUser } from '../../../test/pg-server.ts';
import { resolveConnection } from '../../postgres/index.ts';

const password = 'pass word & more';
let folder: string;
let certificate: { cert: string; key: string };
let server: TestServer;
let fixture: Fixture;

before(async () => {
  folder = await serverFolder('hv-src-');
  await chmod(folder, 0o755);
  certificate = await makeCertificate(folder);
  fixture = await makeFixture();
  server = await startTestServer({
    templates: true,
    major: 17,
    initdbArgs: ['-k'],
    config: {
      summarize_wal: 'on',
      ssl: 'on',
      ssl_cert_file: certificate.cert,
      ssl_key_file: certificate.key,
    },
    hba: ['all', 'replication'].flatMap((database) => [
      `hostssl ${database} careful 127.0.0.1/32 scram-sha-256`,
      `host ${database} careful 127.0.0.1/32 reject`,
    ]),
  });
  await query(
    server,
    `create role careful login superuser password '${password}'`,
    `create role only_replication login replication`,
    `create table plain as select i, md5(i::text) as t from generate_series(1, 5000) i`,
    `create unlogged table volatile as select i from generate_series(1, 1000) i`,
  );
});

after(async () => {
  await server?.[Symbol.asyncDispose]();
  await fixture?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const oddNames = [`we"ird 'db'`, 'ünï/cödé %41', '-rf $HOME', 'UPPER.lower', '日本'];

test('databases with odd names, an unlogged table, empty folders, label and notes – all are in the backup and in the restore', async () => {
  for (const name of oddNames) {
    await query(server, `create database "${name.replaceAll('"', '""')}" strategy wal_log`);
    await withClient(
      server,
      (client) => client.query(`create table "ta'b""le ü" as select i from generate_series(1, 100) i`),
      name,
    );
  }
  const user = await testServerUser();
  await mkdir(join(server.dataDir, 'empty folder/in it'), { recursive: true, mode: 0o700 });
  for (const path of ['empty folder', 'empty folder/in it'])
    if (user) await chown(join(server.dataDir, path), user.uid, user.gid);
  const notes = { version: '1.4.2', 'odd key=': 'ü\n"' };
  // As long as it may be.
  const label = `pre-deploy "ü" 'q' ${'x'.repeat(1004)}`;
  const manifest = await fixture.takeBackup(server, { label, notes });
  assert.equal(manifest.label, label);
  assert.deepEqual(manifest.notes, notes);
  const contents = await serverContents(server);
  for (const name of oddNames) assert.match(contents[`${name}.public.ta'b"le ü`] ?? '', /^100 /);
  assert.deepEqual(await fixture.recorded(manifest), contents);
  assert.deepEqual(notPassed(await fixture.drillIt(manifest)), []);

  const { directory } = await fixture.restoreTo(manifest);
  assert.deepEqual(await readdir(join(directory, 'empty folder/in it')), []);
  await using restored = await startRestored(directory, 17, { ssl: 'off' });
  assert.deepEqual(await serverContents(restored), contents);
  const { rows } = await query<{ n: string }>(restored, 'select count(*)::text as n from volatile');
  assert.equal(rows[0]!.n, '0');
  for (const name of oddNames) await query(server, `drop database "${name.replaceAll('"', '""')}"`);
});

test('tablespaces – restore remapped, and to where they were', async () => {
  const places = [await serverFolder('hv-ts-'), await serverFolder('hv-ts ü-')];
  try {
    await using source = await startTestServer({ major: 18, config: { summarize_wal: 'on' } });
    await query(
      source,
      ...places.map((place, i) => `create tablespace space${i} location '${place}'`),
      ...places.map(
        (_, i) =>
          `create table there${i} tablespace space${i} as select i, md5(i::text) from generate_series(1, 3000) i`,
      ),
      `create index on there1 (md5) tablespace space0`,
    );
    await fixture.takeBackup(source, { database: 'spaces' });
    await query(source, 'update there0 set md5 = null where i < 50', 'insert into there1 values (0, null)');
    const manifest = await fixture.takeBackup(source, { database: 'spaces' });
    assert.equal(manifest.facts.transfer, 'changed-pages');
    const contents = await serverContents(source);
    // A drill runs on the same machine and must not touch the places of the source.
    assert.deepEqual(notPassed(await fixture.drillIt(manifest)), []);

    // Each its own way: by location, and by the oid.
    const oids = Object.fromEntries(
      (manifest.facts.tablespaces as { oid: string; location: string }[]).map((t) => [t.location, t.oid]),
    );
    const mapping = new Map([
      [places[0]!, join(fixture.home, 'moved-0')],
      [oids[places[1]!]!, join(fixture.home, 'moved 1')],
    ]);
    const moved = await fixture.restoreTo(manifest, { tablespaces: mapping });
    assert.equal(
      await readlink(join(moved.directory, 'pg_tblspc', oids[places[1]!]!)),
      join(fixture.home, 'moved 1'),
    );
    {
      await using restored = await startRestored(moved.directory, 18);
      assert.deepEqual(await serverContents(restored), contents);
    }

    // Places that would take each other's files.
    const apart = { directory: join(fixture.home, 'apart/data') };
    await mkdir(join(fixture.home, 'linked-to'));
    await symlink(join(fixture.home, 'linked-to'), join(fixture.home, 'a-link'));
    for (const [one, other, message] of [
      ['same', 'same', /would both be in/],
      ['linked-to', 'a-link', /would both be in/],
      ['apart/data', 'other', /would be the data directory/],
      ['other', 'apart/data/base', /would be in the data directory/],
      ['apart', 'other', /would be around the data directory/],
    ] as const) {
      const tablespaces = new Map([one, other].map((name, i) => [places[i]!, join(fixture.home, name)]));
      const options = { ...apart, tablespaces };
      await assert.rejects(fixture.restoreTo(manifest, options), { code: 'USAGE', message });
    }
    await assert.rejects(readdir(join(fixture.home, 'apart')), { code: 'ENOENT' });

    // The places are in use by the source: refused, also for a copy whose tablespaces are elsewhere.
    await assert.rejects(fixture.restoreTo(manifest), { code: 'TARGET_NOT_EMPTY' });
    const { directory } = moved;
    await assert.rejects(fixture.restoreTo(manifest, { directory, delta: true }), {
      code: 'TARGET_NOT_EMPTY',
    });
    assert.deepEqual(await serverContents(source), contents);
    // A folder of its disk's, and another tablespace, may be beside what is the cluster's.
    for (const name of ['lost+found', 'inner', 'PG_9.6_201608131'])
      await mkdir(join(fixture.home, 'moved-0', name));
    await fixture.restoreTo(manifest, { directory, delta: true, tablespaces: mapping });
    const [own, ...others] = (await readdir(join(fixture.home, 'moved-0'))).sort();
    assert.deepEqual([own!.slice(0, 5), ...others], ['PG_18', 'PG_9.6_201608131', 'inner', 'lost+found']);
    {
      await using restored = await startRestored(directory, 18);
      assert.deepEqual(await serverContents(restored), contents);
    }
    // Removed: made again.
    await source.stop('immediate');
    for (const place of places) await rm(place, { recursive: true });
    const back = await fixture.restoreTo(manifest);
    assert.ok((await readdir(places[0]!)).length > 0);
    await using restored = await startRestored(back.directory, 18);
    assert.deepEqual(await serverContents(restored), contents);
  } finally {
    for (const place of places) await rm(place, { recursive: true, force: true });
  }
});

test('a standby as the source – its backup is proven, also after its promotion', async () => {
  const first = await fixture.takeBackup(server, { database: 'pair', kind: 'full' });
  const { directory } = await fixture.restoreTo(first, { newTimeline: false });
  await appendFile(
    join(directory, 'postgresql.auto.conf'),
    `primary_conninfo = 'host=127.0.0.1 port=${server.port} user=postgres'\n`,
  );
  const signal = join(directory, 'standby.signal');
  await writeFile(signal, '');
  const { uid, gid } = await stat(directory);
  await chown(signal, uid, gid);
  await using standby = await startTestServer({ major: 17, dataDir: directory, config: { ssl: 'off' } });
  await query(server, 'create table after_standby as select i from generate_series(1, 777) i');
  await untilSo(standby, `select to_regclass('after_standby') is not null as so`);
  // A restartpoint needs a checkpoint of the primary in the WAL.
  await query(server, 'checkpoint');
  const manifest = await fixture.takeBackup(standby, { database: 'pair' });
  assert.equal(manifest.facts.fromStandby, true);
  assert.equal(manifest.kind, 'incremental');
  const contents = await serverContents(standby);
  assert.match(contents['postgres.public.after_standby']!, /^777 /);
  assert.deepEqual(await fixture.recorded(manifest), contents);
  assert.deepEqual(notPassed(await fixture.drillIt(manifest)), []);
  const read = await fixture.takeBackup(standby, { database: 'pair', kind: 'full', read: 'files' });
  assert.deepEqual([read.facts.fromStandby, read.facts.read], [true, 'files']);
  assert.deepEqual(await fixture.recorded(read), contents);
  assert.deepEqual(notPassed(await fixture.drillIt(read)), []);

  await query(standby, 'select pg_promote()', 'create table promoted as select 1 as i');
  const later = await fixture.takeBackup(standby, { database: 'pair' });
  assert.equal(later.facts.timeline, 2);
  assert.deepEqual(notPassed(await fixture.drillIt(later)), []);
});

test('SCRAM over TLS with verify-full – backs up; without TLS it is refused', async () => {
  const url = (sslmode: string) =>
    `postgresql://careful:${encodeURIComponent(password)}@localhost:${server.port}/postgres?hostaddr=127.0.0.1&sslmode=${sslmode}&sslrootcert=${certificate.cert}`;
  const connection = await resolveConnection({ url: url('verify-full') }, {});
  const manifest = await fixture.takeBackup(server, { database: 'tls', connection });
  assert.doesNotMatch(JSON.stringify(manifest), /pass word/);
  assert.deepEqual(await fixture.recorded(manifest), await serverContents(server));
  const insecure = await resolveConnection({ url: url('disable') }, {});
  await assert.rejects(fixture.takeBackup(server, { database: 'tls', connection: insecure }), {
    code: 'SERVER_AUTH',
    exit: 77,
  });
});

test('a role that has only REPLICATION – the backup works; what it could not read is unproven', async () => {
  const url = server.url.replace('postgres@', 'only_replication@');
  const manifest = await fixture.takeBackup({ url }, { database: 'few-rights' });
  const { state, skipped } = manifest.facts.fingerprint as { state: string; skipped: number };
  assert.ok(state === 'unproven' || skipped > 0, JSON.stringify(manifest.facts.fingerprint));
  const report = await fixture.drillIt(manifest);
  assert.equal(report.verdict, 'partly proven', JSON.stringify(report.checks));
  assert.deepEqual(
    report.checks.filter((check) => check.state !== 'passed').map((check) => [check.name, check.state]),
    [
      ['row counts', 'unproven'],
      ['content', 'unproven'],
    ],
  );
  assert.deepEqual(await fixture.contentsOf(manifest), await serverContents(server));
});

test('a rate limit and a spread checkpoint – are kept to', async () => {
  await query(server, 'checkpoint');
  const begun = performance.now();
  const manifest = await fixture.takeBackup(server, {
    database: 'slow',
    checkpoint: 'spread',
    maxRateKiB: 8192,
    fingerprint: 'off',
  });
  const seconds = (performance.now() - begun) / 1000;
  // The WAL comes at full speed.
  const least = (manifest.totals.received - 17e6) / (8192 * 1024);
  assert.ok(least > 1, `the data is enough to tell: ${manifest.totals.received}`);
  assert.ok(seconds > least * 0.8, `${seconds} s, at least ${least} s were due`);
  assert.ok(seconds < least * 3 + 30, `${seconds} s`);
});

test('a server that never rests – the backup is never said to be wrong', async () => {
  await query(server, 'create table busy (id serial primary key, v int, t text)');
  let stop = false;
  // Each has rows of its own: no deadlocks.
  const writers = [0, 1, 2].map((own) =>
    withClient(server, async (client) => {
      for (let i = 0; !stop; i++) {
        await client.query('insert into busy (v, t) select j, md5(j::text) from generate_series(1, 20) j');
        await client.query('update busy set v = v + 1 where id % 50 = $1::int and id % 3 = $2', [
          i % 50,
          own,
        ]);
        if (i % 20 === 0) await client.query('delete from busy where id % 7 = 0 and id % 3 = $1', [own]);
      }
    }),
  );
  try {
    for (const kind of ['full', 'incremental'] as const) {
      const manifest = await fixture.takeBackup(server, { database: 'busy', kind });
      const report = await fixture.drillIt(manifest);
      const { state } = manifest.facts.fingerprint as { state: string };
      const expected = state === 'taken' ? 'proven' : 'partly proven';
      assert.equal(report.verdict, expected, notPassed(report).join('\n'));
    }
  } finally {
    stop = true;
    await Promise.all(writers);
  }
});
