import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { type ReceivedBackup, receiveBackup } from '../../../test/receive-backup.ts';
import { HelvinoError } from '../../base/errors.ts';
import { backupManifest } from '../backup-manifest.ts';
import { connectSql } from '../connect.ts';
import { resolveConnection } from '../conninfo.ts';
import { IncrementalFileReader } from '../incremental-file.ts';
import { openReplication, type ReplicationConnection } from './replication-connection.ts';

const connect = async (server: TestServer): Promise<ReplicationConnection> =>
  openReplication(await resolveConnection({ url: server.url }, {}));

async function execute(server: TestServer, ...statements: string[]): Promise<Record<string, unknown>[]> {
  const client = await connectSql(await resolveConnection({ url: server.url }, {}));
  let rows: Record<string, unknown>[] = [];
  for (const statement of statements) ({ rows } = await client.query<Record<string, unknown>>(statement));
  await client.end();
  return rows;
}

function manifestOf(backup: ReceivedBackup, systemId: string): Generator<Uint8Array> {
  const { startTimeline: timeline, startLsn, stopLsn } = backup.result;
  const files = [...backup.entries].flatMap(([path, { header }]) =>
    header.type === 'file' ? [{ path, size: header.size, mtime: header.mtime }] : [],
  );
  return backupManifest({ systemId, files, walRanges: [{ timeline, startLsn, endLsn: stopLsn }] });
}

/** The file as it is now, from the old one and what the server sent: blocks not listed are old below the truncation, else zero. */
function fold(old: Buffer, sent: Buffer): { content: Buffer; blocks: number } {
  let content = Buffer.alloc(0);
  let blocks = new Uint32Array(0);
  const parts: Buffer[] = [];
  const reader = new IncrementalFileReader({
    header: (header) => {
      blocks = header.blocks as Uint32Array<ArrayBuffer>;
      const length = Math.max(header.truncationBlocks, (blocks.at(-1) ?? -1) + 1) * 8192;
      content = Buffer.alloc(length);
      old.copy(content, 0, 0, Math.min(old.length, header.truncationBlocks * 8192));
    },
    data: (bytes) => parts.push(Buffer.from(bytes)),
  });
  reader.push(sent);
  reader.end();
  const data = Buffer.concat(parts);
  for (const [i, block] of blocks.entries()) data.copy(content, block * 8192, i * 8192, (i + 1) * 8192);
  return { content, blocks: blocks.length };
}

for (const major of [17, 18] as const) {
  test(`PostgreSQL ${major} – an incremental backup has the changed blocks; folded into the old files they are the new files`, async () => {
    await using server = await startTestServer({
      templates: true,
      major,
      // with checksums hint bits are in the WAL too, so that files are equal to the last bit
      initdbArgs: ['-k'],
      config: { summarize_wal: 'on', autovacuum: 'off' },
    });
    await execute(
      server,
      'create table grown as select i, md5(i::text) from generate_series(1, 20000) i',
      'create table cut as select i from generate_series(1, 50000) i',
    );
    const connection = await connect(server);
    const { systemId } = await connection.identify();
    const full = await receiveBackup(connection);
    await execute(
      server,
      'update grown set i = -1 where i = 10000',
      'insert into grown select i from generate_series(1, 5000) i',
      'delete from cut where i > 25000',
      'vacuum cut',
      'checkpoint',
    );

    await connection.uploadManifest(manifestOf(full, systemId));
    const backup = await receiveBackup(connection, { incremental: true });
    await connection.close();
    const total = (entries: ReceivedBackup['entries']) =>
      [...entries.values()].reduce((sum, { content }) => sum + content.length, 0);
    assert.ok(
      total(backup.entries) * 4 < total(full.entries),
      `${total(backup.entries)} of ${total(full.entries)}`,
    );
    assert.match(backup.entries.get('backup_label')!.content.toString(), /INCREMENTAL FROM LSN: /);

    let changed = 0;
    for (const [path, { header, content }] of backup.entries) {
      if (header.type !== 'file' || !/^base\/|^global\/\d/.test(path.replace('INCREMENTAL.', ''))) continue;
      const real = path.replace('INCREMENTAL.', '');
      const onDisk = await readFile(join(server.dataDir, real));
      if (real === path) {
        assert.ok(content.equals(onDisk), path);
        continue;
      }
      const folded = fold(full.entries.get(real)!.content, content);
      if (folded.blocks > 0) changed++;
      assert.ok(folded.content.equals(onDisk), path);
    }
    assert.ok(changed >= 2, String(changed));
  });
}

test('a manifest of another cluster, of a lost parent, or none at all – SERVER_ERROR with SQLSTATE; a full backup still works', async () => {
  await using server = await startTestServer({ major: 17, config: { summarize_wal: 'on' } });
  const connection = await connect(server);
  const { systemId } = await connection.identify();
  const refused = (message: RegExp) => (thrown: unknown) => {
    assert.ok(thrown instanceof HelvinoError && thrown.code === 'SERVER_ERROR', String(thrown));
    assert.match(thrown.message, message);
    assert.match(String(thrown.context.sqlstate), /^[0-9A-Z]{5}$/);
    return true;
  };
  await assert.rejects(receiveBackup(connection, { incremental: true }), refused(/must UPLOAD_MANIFEST/));
  const full = await receiveBackup(connection);
  await assert.rejects(connection.uploadManifest(manifestOf(full, '1')), refused(/system identifier/));
  const walRanges = [{ timeline: 1, startLsn: 0x100n, endLsn: 0x200n }];
  await connection.uploadManifest(backupManifest({ systemId, files: [], walRanges }));
  await assert.rejects(receiveBackup(connection, { incremental: true }), refused(/summar/i));
  assert.ok((await receiveBackup(connection)).entries.has('global/pg_control'));
  await connection.close();
});

test('a manifest of 200,000 files – is taken in small pieces, also when the server refuses it midway', async () => {
  await using server = await startTestServer({ major: 18, config: { summarize_wal: 'on' } });
  const connection = await connect(server);
  const { systemId } = await connection.identify();
  const many = function* () {
    for (let i = 0; i < 200_000; i++) yield { path: `base/5/${100_000 + i}`, size: 8192, mtime: 0 };
  };
  const walRanges = [{ timeline: 1, startLsn: 0x100n, endLsn: 0x200n }];
  await assert.rejects(
    connection.uploadManifest(backupManifest({ systemId: '1', files: many(), walRanges })),
    HelvinoError,
  );
  await connection.uploadManifest(backupManifest({ systemId, files: many(), walRanges }));
  assert.equal((await connection.identify()).systemId, systemId);
  await connection.close();
});

test('a manifest that cannot be read – its exception, and the connection ends', async () => {
  await using server = await startTestServer({ major: 17 });
  const connection = await connect(server);
  const mine = new Error('index is damaged');
  const broken = async function* () {
    yield Buffer.from('{ "PostgreSQL-Backup-Manifest-Version": 2,\n');
    throw mine;
  };
  await assert.rejects(connection.uploadManifest(broken()), (thrown) => thrown === mine);
  await assert.rejects(connection.identify(), (thrown) => thrown === mine);
  await connection.close();
});
