import assert from 'node:assert/strict';
import { access, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Fixture, makeFixture, query, startRestored } from '../../../test/backup-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { startWalStream } from '../../../test/wal-stream.ts';
import { HelvinoError } from '../../base/errors.ts';
import { type LogPiece, listLog, openRepository, type Repository } from '../../repository/index.ts';
import { openFsDriver } from '../../storage/index.ts';
import { type FaultPlan, withFaults } from '../../storage/testing/faulty-driver.ts';
import { findRecovery } from './find-recovery.ts';
import type { RecoveryTarget } from './target-words.ts';

let server: TestServer;
let fixture: Fixture;

/** A backup of three rows, then WAL of some 20 segments with 40 more. */
before(async () => {
  server = await startTestServer({
    major: 17,
    initdbArgs: ['--wal-segsize=1'],
    config: { wal_keep_size: '64MB' },
  });
  fixture = await makeFixture();
  await query(server, 'create table log (n int primary key, body bytea)');
  await using archive = await startWalStream(fixture, server);
  await query(server, 'insert into log select g, $$x$$ from generate_series(1, 3) g');
  await fixture.takeBackup(server);
  await write(4, 40);
  await archive.upToNow();
});

after(async () => {
  await server[Symbol.asyncDispose]();
  await fixture[Symbol.asyncDispose]();
});

async function write(from: number, to: number): Promise<void> {
  const body = `(select string_agg(sha256((g * 10000 + i)::text::bytea), '') from generate_series(1, 16000) i)`;
  for (let g = from; g <= to; g++)
    await query(server, `insert into log select g, ${body} from (values (${g})) v (g)`);
}

async function repositoryWith(calls: FaultPlan['calls']): Promise<Repository> {
  const driver = withFaults(await openFsDriver({ root: fixture.root }), { calls });
  return openRepository(driver, { ring: fixture.repository.ring });
}

async function recover(repository: Repository, target: Exclude<RecoveryTarget, { kind: 'backup' }>) {
  const { identities } = fixture;
  const signal = new AbortController().signal;
  return findRecovery({ repository, identities, database: 'main', target, signal });
}

async function restoreWith(repository: Repository, directory: string, target = { kind: 'latest' } as const) {
  const recovery = await recover(repository, target);
  return fixture.restoreTo(recovery.target.manifest, { repository, recovery, directory });
}

async function rowsIn(directory: string): Promise<number> {
  await using restored = await startRestored(directory, 17);
  return (await query<{ n: number }>(restored, 'select count(*)::int as n from log')).rows[0]!.n;
}

async function wholePieces(): Promise<LogPiece[]> {
  const pieces: LogPiece[] = [];
  for await (const piece of listLog(fixture.repository.driver, 'main'))
    if (piece.end - piece.begin === 1n << 20n) pieces.push(piece);
  assert.ok(pieces.length > 15, `${pieces.length} segments`);
  return pieces;
}

async function failure(work: Promise<unknown>): Promise<HelvinoError> {
  const thrown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(thrown instanceof HelvinoError, String(thrown));
  return thrown;
}

test('the store goes away midway – a clear error, no server can start; the same restore goes on later', async () => {
  const directory = join(fixture.home, 'away');
  for (const code of ['STORAGE_UNAVAILABLE', 'STORAGE_IO'] as const) {
    const away = await repositoryWith([{ on: 'get', prefix: 'wal/main/0', nth: 8, times: 1e9, error: code }]);
    const error = await failure(restoreWith(away, directory));
    assert.equal(error.code, code);
    assert.match(error.message, /^WAL of timeline 1 from \S+ to \S+ could not be fetched: /);
    assert.match(error.hint!, /no server can start/);
    await assert.rejects(access(join(directory, 'global', 'pg_control')));
  }
  await restoreWith(fixture.repository, directory);
  assert.equal(await rowsIn(directory), 40);
});

test('parts give way to the whole segment while a restore is under way – it takes the whole', async () => {
  await using archive = await startWalStream(fixture, server);
  await query(server, 'select pg_switch_wal()');
  await query(server, `insert into log values (41, 'y')`);
  await archive.upToNow();
  const early = await recover(fixture.repository, { kind: 'latest' });
  const stored = [...early.log.pieces];
  const open = stored.at(-1)!.begin & ~0xfffffn;
  const parts = stored.filter(({ begin, end }) => begin >= open && end - begin < 1n << 20n);
  assert.ok(parts.length > 0);
  await query(server, `insert into log values (42, 'z')`);
  await query(server, 'select pg_switch_wal()');
  await query(server, 'create table later ()');
  await archive.upToNow();
  await archive.end();
  const directory = join(fixture.home, 'replaced');
  for (const { name } of parts) assert.equal(await fixture.repository.driver.head(name), undefined, name);
  await fixture.restoreTo(early.target.manifest, { recovery: early, directory });
  assert.equal(await rowsIn(directory), 41);
  await query(server, 'delete from log where n > 40');
});

test('a piece is damaged or missing – it is named, with the last point before it, which can be restored', async () => {
  const pieces = await wholePieces();
  const piece = pieces[pieces.length - 6]!;
  const path = join(fixture.root, piece.name);
  const good = await readFile(path);
  for (const how of ['damaged', 'missing'] as const) {
    const recovery = await recover(fixture.repository, { kind: 'latest' });
    if (how === 'missing') await rm(path);
    else await writeFile(path, Buffer.from(good).fill(1, 5000, 5001));
    const directory = join(fixture.home, how);
    const error = await failure(fixture.restoreTo(recovery.target.manifest, { recovery, directory }));
    assert.equal(error.code, how === 'missing' ? 'STORAGE_NOT_FOUND' : 'REPOSITORY_DAMAGED');
    assert.match(error.message, how === 'missing' ? /is not stored without a gap/ : new RegExp(piece.name));
    const lsn = /--to (\S+) --timeline 1$/.exec(error.hint!)![1]!;
    await restoreBefore(lsn, directory);
    await writeFile(path, good);
  }
});

async function restoreBefore(lsn: string, directory: string): Promise<void> {
  const recovery = await recover(fixture.repository, { kind: 'lsn', lsn });
  await fixture.restoreTo(recovery.target.manifest, { recovery, directory });
  const rows = await rowsIn(directory);
  assert.ok(rows > 20 && rows < 40, `${rows} rows`);
}
