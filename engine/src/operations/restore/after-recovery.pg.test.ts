import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeFixture, query, startRestored } from '../../../test/backup-fixture.ts';
import { matrixMajors, startTestServer, type TestServer, testServerUser } from '../../../test/pg-server.ts';
import { startWalStream } from '../../../test/wal-stream.ts';
import { backupFacts } from '../../catalog/index.ts';
import { findRecovery } from './find-recovery.ts';
import { parseTarget } from './target-words.ts';

async function inRecovery(server: TestServer): Promise<boolean> {
  return (await query<{ yes: boolean }>(server, 'select pg_is_in_recovery() as yes')).rows[0]!.yes;
}

async function waitUntil(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 600; i++, await sleep(100)) if (await condition()) return;
  throw new Error(`did not happen: ${what}`);
}

async function count(server: TestServer): Promise<number> {
  return (await query<{ n: number }>(server, 'select count(*)::int as n from log')).rows[0]!.n;
}

for (const major of matrixMajors) {
  test(`PostgreSQL ${major}, pause and shutdown – at the latest state, at a transaction and at the backup's own end, all of it there`, async () => {
    await using server = await startTestServer({ major, initdbArgs: ['--wal-segsize=1'] });
    await using fixture = await makeFixture();
    const add = (n: number) =>
      query<{ xid: string }>(
        server,
        `insert into log values (${n}, repeat(md5('${n}'), 30)) returning xmin::text as xid`,
      );
    await query(server, 'create table log (n int primary key, body text)');
    await using archive = await startWalStream(fixture, server);
    for (let n = 1; n <= 3; n++) await add(n);
    await fixture.takeBackup(server);
    const xids: string[] = [];
    for (let n = 4; n <= 10; n++) xids.push((await add(n)).rows[0]!.xid);
    // The last record is longer than a segment.
    await query(server, `select pg_logical_emit_message(false, 'long', repeat('x', 3000000))`);
    await archive.upToNow();
    await archive.end();

    const restoreTo = async (words: string, after: 'pause' | 'shutdown') => {
      const target = parseTarget(words, new Date());
      if (target.kind === 'backup') {
        const [only] = await fixture.repository.backups('main');
        const manifest = await fixture.repository.manifest('main', only!.id);
        return fixture.restoreTo(manifest, { after });
      }
      const recovery = await findRecovery({
        ...fixture,
        repository: fixture.repository,
        identities: fixture.identities,
        database: 'main',
        target,
        signal: new AbortController().signal,
      });
      return fixture.restoreTo(recovery.target.manifest, { recovery, after });
    };

    for (const [words, rows] of [
      ['latest', 10],
      [`xid:${xids[3]}`, 7],
      ['backup', 3],
    ] as const) {
      const { directory } = await restoreTo(words, 'pause');
      await using paused = await startTestServer({ major, dataDir: directory });
      await waitUntil('a pause', async () => {
        const sql = 'select pg_get_wal_replay_pause_state() as state';
        return (await query<{ state: string }>(paused, sql)).rows[0]!.state === 'paused';
      });
      assert.equal(await inRecovery(paused), true);
      assert.equal(await count(paused), rows, words);
      await query(paused, 'select pg_wal_replay_resume()');
      await waitUntil('the promotion', async () => !(await inRecovery(paused)));
      assert.equal(await count(paused), rows, words);
      await query(paused, `insert into log values (100, '')`);
    }

    const { directory } = await restoreTo('latest', 'shutdown');
    const child = spawn(
      join(server.binDir, 'postgres'),
      ['-D', directory, '-c', `port=${server.port}`, '-c', 'listen_addresses=', '-k', directory],
      {
        ...(await testServerUser()),
        cwd: '/',
      },
    );
    let log = '';
    child.stderr.on('data', (chunk) => (log += chunk));
    await once(child, 'close');
    assert.match(log, /recovery stopping after WAL location/);
    const conf = join(directory, 'postgresql.auto.conf');
    const text = await readFile(conf, 'utf8');
    assert.match(text, /^recovery_target_action = 'shutdown'$/m);
    // What the command says to do then.
    await writeFile(conf, text.replace("'shutdown'", "'promote'"));
    await using opened = await startRestored(directory, major);
    assert.equal(await count(opened), 10);
  });
}

test('pause or shutdown without a new timeline – refused before anything is written', async () => {
  await using server = await startTestServer({ major: 17 });
  await using fixture = await makeFixture();
  const manifest = await fixture.takeBackup(server);
  assert.equal(backupFacts(manifest).timeline, 1);
  await assert.rejects(fixture.restoreTo(manifest, { newTimeline: false, after: 'pause' }), {
    code: 'USAGE',
  });
});
