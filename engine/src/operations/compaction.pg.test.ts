import assert from 'node:assert/strict';
import { test } from 'node:test';
import pg from 'pg';
import { makeFixture } from '../../test/backup-fixture.ts';
import { startTestServer } from '../../test/pg-server.ts';
import { silentProgress } from '../base/progress.ts';
import {
  applyCollect,
  type ChunkRef,
  type Manifest,
  planCollect,
  type Repository,
} from '../repository/index.ts';
import { verify } from './verify/verify.ts';

/** Bytes of each pack that the files of a backup need, and the chunks that were copied. */
async function usage(repository: Repository, manifest: Manifest) {
  const chunks = new Map<string, ChunkRef>();
  for await (const file of repository.files(manifest)) {
    for (const { chunk } of file.extents) if (chunk) chunks.set(`${chunk.pack}/${chunk.index}`, chunk);
  }
  const live = new Map<string, number>();
  for (const chunk of chunks.values()) live.set(chunk.pack, (live.get(chunk.pack) ?? 0) + chunk.stored);
  return { live, copied: [...chunks.values()].filter((chunk) => chunk.origin).length };
}

test('a pack of which little is needed – is copied out of, stays provable, and goes with the old backup', async () => {
  await using server = await startTestServer({ major: 16, initdbArgs: ['--data-checksums'] });
  await using fixture = await makeFixture();
  const { repository, identities } = fixture;
  const client = new pg.Client(server.url);
  client.on('error', () => undefined);
  await client.connect();
  const fill = (rows: number) =>
    client.query(
      `insert into churn select n, string_agg(md5(random()::text || n || j), '') from generate_series(1, ${rows}) n, generate_series(1, 60) j group by n`,
    );
  await client.query('create table keep as select i, md5(i::text) as t from generate_series(1, 5000) i');
  await client.query('create table churn (i int, t text)');
  await client.query('alter table churn alter t set storage external');
  await fill(24_000);
  const first = await fixture.takeBackup(server, { kind: 'full' });
  await client.query('truncate churn');
  await fill(24_000);
  const second = await fixture.takeBackup(server);
  await client.query('update keep set t = upper(t) where i < 10');
  const third = await fixture.takeBackup(server);
  await client.end();

  const { copied } = await usage(repository, second);
  assert.ok(copied > 0, 'nothing was copied');
  for (const manifest of [second, third]) {
    const { live } = await usage(repository, manifest);
    for (const pack of [...manifest.packs].filter((p) => live.has(p.id))) {
      const own = first.packs.withId(pack.id) === undefined;
      assert.ok(
        own || live.get(pack.id)! >= pack.size * 0.3,
        `${pack.id}: ${live.get(pack.id)} of ${pack.size}`,
      );
    }
  }
  await repository.remove(first.database, first.id);
  const plan = await planCollect(repository, { graceMs: 0 });
  assert.ok((await applyCollect(repository, plan, { graceMs: 0 })).removed.length > 0);
  const options = {
    repository,
    identities,
    readData: true,
    progress: silentProgress,
    signal: new AbortController().signal,
  };
  assert.equal((await verify(options)).verdict, 'passed');
  for (const manifest of [second, third]) assert.equal((await fixture.drillIt(manifest)).verdict, 'proven');
});
