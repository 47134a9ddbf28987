import assert from 'node:assert/strict';
import { chmod, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type pg from 'pg';
import { type Fixture, makeFixture, query, startRestored, withClient } from '../../../test/backup-fixture.ts';
import { matrixMajors, startTestServer } from '../../../test/pg-server.ts';
import { startWalStream } from '../../../test/wal-stream.ts';
import { HelvinoError } from '../../base/errors.ts';
import { parseLsn } from '../../postgres/index.ts';
import { findRecovery, type Recovery } from './find-recovery.ts';
import { parseTarget } from './target-words.ts';

function recover(fixture: Fixture, words: string): Promise<Recovery> {
  const target = parseTarget(words, new Date());
  if (target.kind === 'backup') throw new Error('no target');
  const { repository, identities } = fixture;
  const signal = new AbortController().signal;
  return findRecovery({ repository, identities, database: 'main', target, signal });
}

async function saidOf(fixture: Fixture, words: string): Promise<[string, bigint]> {
  const { target } = await recover(fixture, words);
  return [target.description, target.end];
}

async function refusalOf(fixture: Fixture, words: string): Promise<HelvinoError> {
  const thrown = await recover(fixture, words).catch((error: unknown) => error);
  assert.ok(thrown instanceof HelvinoError, `${words}: ${thrown}`);
  return thrown;
}

/** Inserts a row; gives the number of the transaction, or of the savepoint's work, that did. */
async function insert(client: pg.Client, n: number): Promise<string> {
  await client.query(`insert into log values (${n})`);
  const { rows } = await client.query(`select xmin::text as xid from log where n = ${n}`);
  return rows[0].xid;
}

interface Numbers {
  readonly parent: string;
  readonly child: string;
  readonly backedOut: string;
  readonly rolledBack: string;
  readonly prepared: string;
  readonly waiting: string;
  readonly waitingChild: string;
}

async function work(client: pg.Client): Promise<Numbers> {
  await client.query('begin');
  const parent = await insert(client, 1);
  await client.query('savepoint a');
  const child = await insert(client, 2);
  await client.query('savepoint b');
  const backedOut = await insert(client, 3);
  await client.query('rollback to b');
  await client.query('commit');
  await client.query('begin');
  const rolledBack = await insert(client, 4);
  await client.query('rollback');
  await client.query('begin');
  const prepared = await insert(client, 5);
  await client.query(`prepare transaction 'five'`);
  await insert(client, 6);
  await client.query(`commit prepared 'five'`);
  await client.query('begin');
  const waiting = await insert(client, 7);
  await client.query('savepoint c');
  const waitingChild = await insert(client, 9);
  await client.query(`prepare transaction 'seven'`);
  await insert(client, 8);
  return { parent, child, backedOut, rolledBack, prepared, waiting, waitingChild };
}

for (const major of matrixMajors) {
  test(`PostgreSQL ${major} – the number of a savepoint's work, of a rollback, of a prepared transaction: what it is is said`, async () => {
    await using server = await startTestServer({
      major,
      initdbArgs: ['--wal-segsize=1'],
      config: { max_prepared_transactions: 5 },
    });
    await using fixture = await makeFixture();
    await query(server, 'create table log (n int)');
    await using stream = await startWalStream(fixture, server);
    await fixture.takeBackup(server);
    const numbers = await withClient(server, work);
    await stream.upToNow();
    await stream.end();

    const numbersAt = async (words: string) => {
      const recovery = await recover(fixture, words);
      const { directory } = await fixture.restoreTo(recovery.target.manifest, { recovery });
      await using restored = await startRestored(directory, major);
      const { rows } = await query<{ n: number }>(restored, 'select n from log order by n');
      return rows.map(({ n }) => n);
    };
    const { parent, child, backedOut, rolledBack, prepared, waiting, waitingChild } = numbers;
    const [words, end] = await saidOf(fixture, `xid:${parent}`);
    assert.match(words, new RegExp(`^transaction ${parent}, committed at`));
    const [childWords, childEnd] = await saidOf(fixture, `xid:${child}`);
    assert.match(
      childWords,
      new RegExp(`^transaction ${parent} \\(${child} is a subtransaction of it\\), committed`),
    );
    assert.equal(childEnd, end);
    assert.deepEqual(await numbersAt(`xid:${child}`), [1, 2]);
    assert.deepEqual(await numbersAt(`before:xid:${child}`), []);
    for (const xid of [backedOut, rolledBack]) {
      const [said] = await saidOf(fixture, `xid:${xid}`);
      assert.match(said, new RegExp(`^the rollback of transaction ${xid} at .*nothing of it was kept`));
    }
    assert.deepEqual(await numbersAt(`xid:${rolledBack}`), [1, 2]);
    assert.deepEqual(await numbersAt(`xid:${prepared}`), [1, 2, 5, 6]);
    assert.deepEqual(await numbersAt(`before:xid:${prepared}`), [1, 2, 6]);
    for (const xid of [waiting, waitingChild]) {
      const refused = await refusalOf(fixture, `xid:${xid}`);
      assert.equal(refused.code, 'TARGET_UNREACHABLE');
      assert.match(refused.message, /it was prepared \(PREPARE TRANSACTION\) at .* and had not ended by/);
    }
  });
}

/** The newest piece of WAL cannot be opened meanwhile. */
async function withDamage(fixture: Fixture, work: () => Promise<void>): Promise<void> {
  const folder = join(fixture.root, 'wal/main/00000001');
  const path = join(folder, (await readdir(folder)).sort().at(-1)!);
  const good = await readFile(path);
  const bad = Buffer.from(good);
  bad[bad.length - 40]! ^= 1;
  await chmod(path, 0o600);
  await writeFile(path, bad);
  await work();
  await writeFile(path, good);
}

test('a restore point that was made again – with one backup behind it each is found; two after the same backup: which one is asked', async () => {
  await using server = await startTestServer({ major: 18, initdbArgs: ['--wal-segsize=1'] });
  await using fixture = await makeFixture();
  await query(server, 'create table log (n int)');
  await using stream = await startWalStream(fixture, server);
  const point = async () => {
    const { rows } = await query<{ lsn: string }>(
      server,
      `select pg_create_restore_point('deploy')::text as lsn`,
    );
    await query(server, 'insert into log values (1)');
    return parseLsn(rows[0]!.lsn);
  };
  await fixture.takeBackup(server);
  const first = await point();
  await stream.upToNow();
  assert.equal((await saidOf(fixture, 'name:deploy'))[1], first);
  await fixture.takeBackup(server);
  await stream.upToNow();
  assert.equal((await saidOf(fixture, 'name:deploy'))[1], first, 'with the older backup');
  const second = await point();
  await stream.upToNow();
  assert.equal((await saidOf(fixture, 'name:deploy'))[1], second, 'with the newer one');
  for (let i = 0; i < 3; i++) await query(server, 'insert into log values (2)', 'select pg_switch_wal()');
  await stream.upToNow();
  await withDamage(fixture, async () => {
    const [said, end] = await saidOf(fixture, 'name:deploy');
    assert.equal(end, second, 'what is behind it does not matter');
    assert.match(said, /whether it was made again is not known: /);
  });
  await point();
  await stream.upToNow();
  await stream.end();
  const refused = await refusalOf(fixture, 'name:deploy');
  assert.equal(refused.code, 'TARGET_AMBIGUOUS');
  const choices = [...(refused.hint ?? '').matchAll(/--to (\S+)/g)].map(([, lsn]) => lsn!);
  assert.equal(choices.length, 2);
  assert.equal(parseLsn(choices[0]!), second);
  assert.equal((await saidOf(fixture, choices[0]!))[1], second, 'what the hint says can be written');
});
