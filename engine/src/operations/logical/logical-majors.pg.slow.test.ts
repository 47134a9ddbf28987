import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeFixture, notPassed } from '../../../test/backup-fixture.ts';
import { makeShop, restoreDump, rowsOf, takeDump } from '../../../test/logical-fixture.ts';
import { startTestServer, testMajors } from '../../../test/pg-server.ts';
import { logicalFacts } from '../../catalog/index.ts';
import { findClientPrograms } from '../../postgres/index.ts';

/** `scripts/client-programs.sh FOLDER` fetches those that this Debian does not carry. */
const folder = process.env.HELVINO_TEST_CLIENTS;

for (const major of testMajors) {
  const extraDirs = folder === undefined ? [] : [`${folder}/${major}/bin`];
  const skip = await findClientPrograms(major, { env: process.env, extraDirs }).then(
    () => false as const,
    () => `no pg_dump ${major}: scripts/client-programs.sh, HELVINO_TEST_CLIENTS`,
  );
  test(`PostgreSQL ${major}, every format – dumped, restored equal in rows and content, proven by a drill`, {
    skip,
  }, async () => {
    await using fixture = await makeFixture();
    await using server = await startTestServer({ templates: true, major });
    await makeShop(server);
    // A limit for ordinary work, which the dump must not have.
    if (major >= 17)
      await rowsOf(server, 'postgres', "alter database shop set transaction_timeout = '200ms'");
    for (const format of ['custom', 'directory', 'plain'] as const) {
      const manifest = await takeDump(fixture, server, { format, binDirs: extraDirs });
      assert.match(logicalFacts(manifest).tool, new RegExp(`^pg_dump ${major}\\.`));
      const database = `copy_${format}`;
      const result = await restoreDump(
        fixture,
        { server, manifest, dbname: 'shop' },
        { database, jobs: format === 'plain' ? 1 : 2, binDirs: extraDirs },
      );
      assert.deepEqual(
        result.checks.map(({ state }) => state),
        ['passed', 'passed'],
        JSON.stringify(result.checks),
      );
      const [row] = await rowsOf<{ m: string }>(
        server,
        database,
        'select count(*) as m from public.messages',
      );
      assert.equal(row!.m, '20000');
      const report = await fixture.drillIt(manifest, { clientDirs: extraDirs });
      assert.deepEqual([report.verdict, notPassed(report)], ['proven', []], format);
    }
  });
}
