import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ArchiveLab, type Receiver } from '../../../test/archive-lab.ts';
import { makeFixture, query } from '../../../test/backup-fixture.ts';
import { startTestServer } from '../../../test/pg-server.ts';
import { silentProgress } from '../../base/progress.ts';
import { parseWalFileName } from '../../postgres/index.ts';
import type { FaultPlan } from '../../storage/testing/faulty-driver.ts';
import { verify } from '../verify/verify.ts';
import { StoredLog } from './log-bytes.ts';

const segmentSize = 1 << 20;

test('kill -9 of the receiver at the steps of the store – never status 0 for what is not stored; the file again is status 0', async () => {
  await using fixture = await makeFixture();
  await using lab = await ArchiveLab.open({ fixture });
  const config = { wal_keep_size: '200MB', max_wal_size: '200MB' };
  await using server = await startTestServer({ major: 18, initdbArgs: ['--wal-segsize=1'], config });
  await query(server, `create table t as select g, md5(g::text) from generate_series(1, 400000) g`);
  await query(server, 'select pg_switch_wal()');
  const folder = join(server.dataDir, 'pg_wal');
  const names = (await readdir(folder)).filter((name) => /^[0-9A-F]{24}$/.test(name)).sort();
  const archive = (name: string) => lab.archive(join(folder, name), name, { cwd: server.dataDir });
  const isStored = async (name: string) => {
    const { timeline, begin } = parseWalFileName(name, segmentSize)!;
    const log = await StoredLog.open(fixture.repository, fixture.identities, 'main');
    const stored: Uint8Array[] = [];
    const range = { line: timeline, from: begin, to: begin + BigInt(segmentSize) };
    for await (const bytes of log.bytes(range)) stored.push(Buffer.from(bytes));
    return Buffer.concat(stored).equals(await readFile(join(folder, name)));
  };

  // The second receiver finds all folders made, as those that are killed do.
  let whole: Receiver | undefined;
  for (const name of names.slice(0, 2)) {
    whole = await lab.receive(server);
    assert.equal((await archive(name)).status, 0);
    await whole.stop();
  }
  const steps = JSON.parse(/^steps (.*)$/m.exec(whole!.output)![1]!) as string[];
  assert.ok(steps.length >= 10 && steps.includes('put.link'), steps.join());

  // The last one of each kind is of the segment itself; the reads after it are those that read it back.
  const plans: FaultPlan[] = [...new Set(steps)].map((kind) => ({
    points: [{ nth: steps.lastIndexOf(kind) + 1, kill: true }],
  }));
  for (const kill of ['before', 'after'] as const) {
    plans.push({ calls: [{ on: 'put', prefix: 'wal/main/00000001/', nth: 1, kill }] });
    plans.push({ calls: [{ on: 'get', prefix: 'wal/main/00000001/', nth: 1, kill }] });
  }
  const tried = names.slice(2, plans.length + 2);
  assert.equal(tried.length, plans.length);
  for (const [i, name] of tried.entries()) {
    const receiver = await lab.receive(server, plans[i]);
    const { status, stderr } = await archive(name);
    if (status !== 75) await receiver.stop();
    assert.equal(await receiver.ended, 'SIGKILL', `${JSON.stringify(plans[i])}: it was not killed`);
    assert.equal(status, 75, `${JSON.stringify(plans[i])}: ${stderr}`);
    assert.match(stderr, /went away before it answered/);
  }
  const last = await lab.receive(server);
  for (const name of [names[0]!, ...tried]) {
    const { status, stderr } = await archive(name);
    assert.deepEqual([status, stderr], [0, ''], name);
    assert.ok(await isStored(name), name);
  }
  await last.stop();
  const { signal } = new AbortController();
  const { repository, identities } = fixture;
  const report = await verify({ repository, identities, readData: true, progress: silentProgress, signal });
  assert.equal(report.verdict, 'passed', JSON.stringify(report));
});

test('a store that changes what is written, is full or away – the client fails, and nothing is held for stored', async () => {
  await using fixture = await makeFixture();
  await using lab = await ArchiveLab.open({ fixture });
  await using server = await startTestServer({ major: 18, initdbArgs: ['--wal-segsize=1'] });
  await query(server, 'create table t (i int)', 'select pg_switch_wal()');
  const folder = join(server.dataDir, 'pg_wal');
  const [name] = (await readdir(folder)).filter((file) => /^[0-9A-F]{24}$/.test(file)).sort();
  const archive = () => lab.archive(join(folder, name!), name!, { cwd: server.dataDir });
  for (const [plan, status, words] of [
    [{ on: 'put', error: 'STORAGE_FULL' }, 74, /\[STORAGE_FULL\]/],
    [{ on: 'put', error: 'STORAGE_UNAVAILABLE' }, 75, /\[STORAGE_UNAVAILABLE\]/],
    [{ on: 'put', flipBit: 5000 }, 74, /reads back differently.*\[STORAGE_IO\]/],
  ] as const) {
    const receiver = await lab.receive(server, {
      calls: [{ ...plan, prefix: 'wal/main/00000001/', nth: 1 }],
    });
    const outcome = await archive();
    assert.equal(outcome.status, status, outcome.stderr);
    assert.match(outcome.stderr, words);
    await receiver.stop();
  }
  // What the store changed is there under the segment's name: it is never taken for the segment.
  const receiver = await lab.receive(server);
  const outcome = await archive();
  assert.equal(outcome.status, 65, outcome.stderr);
  assert.match(outcome.stderr, /its stored bytes were changed.*remove this object.*\[REPOSITORY_DAMAGED\]/);
  await receiver.stop();
});
