import assert from 'node:assert/strict';
import { appendFile, open, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import { serverFolder, startTestServer, type TestMajor } from '../../test/pg-server.ts';
import { verifyDirectoryChecksums } from './directory-checksums.ts';

/** A stopped cluster with a table in a tablespace, unlogged tables and every fork; calls `look` with the table's files. */
async function withCluster(
  major: TestMajor,
  look: (dataDir: string, files: { plain: string; spaced: string }) => Promise<void>,
) {
  const space = await serverFolder();
  await using server = await startTestServer({ templates: true, major, initdbArgs: ['-k'] });
  const client = new pg.Client(server.url);
  client.on('error', () => {});
  await client.connect();
  await client.query(`create tablespace elsewhere location '${space}'`);
  await client.query(`
    create table plain as select g, repeat('x', 100) as filler from generate_series(1, 20000) g;
    create index on plain (g);
    create table spaced tablespace elsewhere as select g from generate_series(1, 1000) g;
    create unlogged table unlogged as select g from generate_series(1, 1000) g;`);
  await client.query('vacuum');
  const { rows } = await client.query<{ plain: string; spaced: string }>(
    `select pg_relation_filepath('plain') as plain, pg_relation_filepath('spaced') as spaced`,
  );
  await client.end();
  await server.stop('fast');
  try {
    await look(server.dataDir, rows[0]!);
  } finally {
    await rm(space, { recursive: true, force: true });
  }
}

async function flip(path: string, at: number): Promise<void> {
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  byte[0] = byte[0]! ^ 0x10;
  await file.write(byte, 0, 1, at);
  await file.close();
}

for (const major of [14, 18] as const) {
  test(`a cluster of PostgreSQL ${major} – good as the server left it, and each kind of damage is found`, async () => {
    await withCluster(major, async (dataDir, { plain, spaced }) => {
      await writeFile(join(dataDir, 'base/1/pg_internal.init'), 'not a page');
      await writeFile(join(dataDir, 'base/1/t3_16384'), 'not a page');
      const clean = await verifyDirectoryChecksums(dataDir);
      assert.deepEqual(clean.bad, []);
      assert.ok(clean.files > 500 && clean.pages > 2000, `${clean.files} files, ${clean.pages} pages`);

      await flip(join(dataDir, plain), 150 * 8192 + 5000);
      await flip(join(dataDir, spaced), 100);
      await appendFile(join(dataDir, `${plain}_vm`), 'half a page');
      const { bad } = await verifyDirectoryChecksums(dataDir, { workers: 1 });
      const found = bad.map(({ path, block }) => `${path} ${block}`).sort();
      assert.deepEqual(found, [`${plain} 150`, `${plain}_vm 1`, `${spaced} 0`].sort());
    });
  });
}

test('a tablespace or folder that cannot be read – an error, not a good result', async () => {
  await withCluster(18, async (dataDir) => {
    await symlink('/nowhere', join(dataDir, 'pg_tblspc/99999'));
    await assert.rejects(verifyDirectoryChecksums(dataDir), { code: 'TARGET_IO' });
    await rm(join(dataDir, 'pg_tblspc/99999'));
    await rm(join(dataDir, 'base'), { recursive: true });
    await assert.rejects(verifyDirectoryChecksums(dataDir), { code: 'TARGET_IO' });
  });
});
