import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ArchiveLab, archiveAll } from '../../../test/archive-lab.ts';
import { type Fixture, makeFixture, query } from '../../../test/backup-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { listLog } from '../../repository/index.ts';
import { walStatus } from './status.ts';

async function setCommand(server: TestServer, command: string): Promise<void> {
  const before = server.log().length;
  await query(server, `alter system set archive_command = '${command}'`, 'select pg_reload_conf()');
  while (!server.log().slice(before).includes('parameter "archive_command" changed')) await sleep(20);
}

const gapsOf = async ({ repository }: Fixture) =>
  (await walStatus(repository, 'main')).gaps.map(({ reason, closedBy }) => [reason, closedBy]);

test('archive_command was another one for a time – the gap says so, with the receiver running or not; a backup closes it', async () => {
  await using fixture = await makeFixture();
  await using lab = await ArchiveLab.open({ fixture });
  await using server = await startTestServer({
    major: 18,
    initdbArgs: ['--wal-segsize=1'],
    config: lab.settings,
  });
  const { archive_command: ours } = lab.settings;
  await query(server, 'create table t (i int)');
  const receiver = await lab.receive(server);
  await archiveAll(server);
  const elsewhere = async () => {
    await setCommand(server, '/bin/true');
    await query(server, 'insert into t values (1)');
    await archiveAll(server);
  };
  await elsewhere();
  await setCommand(server, ours);
  await query(server, 'insert into t values (2)');
  await archiveAll(server);
  assert.deepEqual(await gapsOf(fixture), [['not-archived', undefined]]);
  await receiver.stop();
  await elsewhere();
  await lab.receive(server);
  await setCommand(server, ours);
  await query(server, 'insert into t values (3)');
  await archiveAll(server);
  assert.deepEqual(await gapsOf(fixture), [
    ['not-archived', undefined],
    ['not-archived', undefined],
  ]);
  const { id } = await fixture.takeBackup(server);
  await archiveAll(server);
  assert.deepEqual(await gapsOf(fixture), [
    ['not-archived', id],
    ['not-archived', id],
  ]);
});

test('a segment that was stored, and is lost – archive_command is not to blame', async () => {
  await using fixture = await makeFixture();
  await using lab = await ArchiveLab.open({ fixture });
  await using server = await startTestServer({
    major: 17,
    initdbArgs: ['--wal-segsize=1'],
    config: lab.settings,
  });
  const receiver = await lab.receive(server);
  for (let i = 0; i < 3; i++) {
    await query(server, `create table t${i} (i int)`);
    await archiveAll(server);
  }
  await receiver.stop();
  const { driver } = fixture.repository;
  const { ranges } = await walStatus(fixture.repository, 'main');
  const names: string[] = [];
  for await (const { name } of listLog(driver, 'main')) names.push(name);
  assert.equal(ranges.length, 1);
  await driver.remove(names.at(-2)!);
  await driver.remove(names.at(-1)!);
  await lab.receive(server);
  await query(server, 'create table last (i int)');
  await archiveAll(server);
  assert.deepEqual(await gapsOf(fixture), [['unknown', undefined]]);
});
