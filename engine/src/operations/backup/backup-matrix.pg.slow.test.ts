/** On each major version at once what other tests look at one by one: TLS with SCRAM, a tablespace, the primary and its standby. */
import assert from 'node:assert/strict';
import { appendFile, chmod, chown, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFixture, notPassed, query, serverContents } from '../../../test/backup-fixture.ts';
import { makeCertificate } from '../../../test/certificates.ts';
import { untilSo } from '../../../test/failover.ts';
import {
  serverFolder,
  startTestServer,
  type TestServer,
  testMajors,
  testServerUser,
} from '../../../test/pg-server.ts';
import { resolveConnection } from '../../postgres/index.ts';

const password = 'pass word & more';
const setUp = (place: string) => [
  `create role careful login superuser password '${password}'`,
  `create tablespace elsewhere location '${place}'`,
  `create table far tablespace elsewhere as select i, md5(i::text) as t from generate_series(1, 20000) i`,
  `create table near as select i, md5(i::text) as t from generate_series(1, 20000) i`,
  'create index on near (t) tablespace elsewhere',
];

for (const major of testMajors)
  test(`PostgreSQL ${major}, SCRAM over TLS, a tablespace, a primary and its standby – full and incremental backups of both are proven`, async () => {
    const folder = await serverFolder('hv-matrix-');
    const place = await serverFolder('hv-matrix-space-');
    await chmod(folder, 0o755);
    const { cert, key } = await makeCertificate(folder);
    const config = {
      ssl: 'on',
      ssl_cert_file: cert,
      ssl_key_file: key,
      wal_keep_size: '64MB',
      ...(major >= 17 ? { summarize_wal: 'on' } : {}),
    };
    const hba = ['all', 'replication'].flatMap((database) => [
      `hostssl ${database} careful 127.0.0.1/32 scram-sha-256`,
      `host ${database} careful 127.0.0.1/32 reject`,
    ]);
    const careful = ({ port }: TestServer) =>
      resolveConnection(
        {
          url: `postgresql://careful:${encodeURIComponent(password)}@localhost:${port}/postgres?hostaddr=127.0.0.1&sslmode=verify-full&sslrootcert=${cert}`,
        },
        {},
      );
    try {
      await using fixture = await makeFixture();
      await using primary = await startTestServer({ major, initdbArgs: ['-k'], config, hba });
      await query(primary, ...setUp(place));
      const proven = async (server: TestServer, kind: string) => {
        const manifest = await fixture.takeBackup(server, { connection: await careful(server) });
        assert.deepEqual([manifest.kind, manifest.facts.fromStandby], [kind, server !== primary]);
        assert.deepEqual(await fixture.recorded(manifest), await serverContents(server));
        assert.deepEqual(notPassed(await fixture.drillIt(manifest)), []);
        return manifest;
      };
      await proven(primary, 'full');
      await query(primary, 'update far set t = upper(t) where i % 50 = 0');
      const second = await proven(primary, 'incremental');

      const moved = new Map([[place, join(fixture.home, 'standby-space')]]);
      const { directory } = await fixture.restoreTo(second, {
        newTimeline: false,
        tablespaces: moved,
      });
      const conf = join(directory, 'postgresql.auto.conf');
      await appendFile(conf, `primary_conninfo = 'host=127.0.0.1 port=${primary.port} user=postgres'\n`);
      const signal = join(directory, 'standby.signal');
      await writeFile(signal, '');
      const user = await testServerUser();
      if (user) for (const file of [conf, signal]) await chown(file, user.uid, user.gid);
      await using standby = await startTestServer({ major, dataDir: directory, config, hba });
      await query(primary, 'create table later as select i from generate_series(1, 777) i', 'checkpoint');
      await untilSo(standby, `select to_regclass('later') is not null as so`);
      await proven(standby, 'incremental');
      await query(primary, 'delete from near where i < 500', 'checkpoint');
      await untilSo(standby, `select not exists (select from near where i < 500) as so`);
      await proven(standby, 'incremental');
    } finally {
      for (const each of [folder, place]) await rm(each, { recursive: true, force: true });
    }
  });
