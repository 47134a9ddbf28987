import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chown, cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { ArchiveLab, archiveAll, hasProgram } from '../../../test/archive-lab.ts';
import {
  type Fixture,
  makeFixture,
  query,
  serverContents,
  startRestored,
} from '../../../test/backup-fixture.ts';
import { edgeMajors, serverFolder, startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { systemClock } from '../../base/clock.ts';
import { silentProgress } from '../../base/progress.ts';
import { parseWalFileName, resolveConnection } from '../../postgres/index.ts';
import { type LogPiece, listLog, listLogFiles, logFiles, logPieceName } from '../../repository/index.ts';
import { findTransactions } from '../find/find.ts';
import { findRecovery } from '../restore/find-recovery.ts';
import { parseTarget } from '../restore/target-words.ts';
import { verify } from '../verify/verify.ts';
import { StoredLog } from './log-bytes.ts';
import { walStatus } from './status.ts';
import { streamWal } from './stream.ts';

const segmentSize = 1 << 20;
const initdbArgs = ['--wal-segsize=1'];
const load = (from: number) =>
  `insert into t select g, md5(g::text) from generate_series(${from}, ${from + 4999}) g`;

async function until(what: string, condition: () => Promise<boolean>, log = () => ''): Promise<void> {
  for (let i = 0; i < 1200; i++) {
    if (await condition()) return;
    await sleep(50);
  }
  throw new Error(`did not happen: ${what}\n${log()}`);
}

async function pieces(fixture: Fixture): Promise<LogPiece[]> {
  const found: LogPiece[] = [];
  for await (const piece of listLog(fixture.repository.driver, 'main')) found.push(piece);
  return found;
}

const streamOptions = ({ repository, recipient }: Fixture, signal: AbortSignal) => ({
  repository,
  recipients: [recipient],
  database: 'main',
  slot: 'helvino',
  intervalMs: 20,
  clock: systemClock,
  progress: silentProgress,
  signal,
});

async function firstSegment({ dataDir }: TestServer): Promise<string> {
  return (await readdir(join(dataDir, 'pg_wal'))).filter((name) => /^[0-9A-F]{24}$/.test(name)).sort()[0]!;
}

function pieceOf(name: string): string {
  const { timeline, begin } = parseWalFileName(name, segmentSize)!;
  return logPieceName('main', { line: timeline, begin, end: begin + BigInt(segmentSize) });
}

async function restored(fixture: Fixture, words: string): Promise<string> {
  const { repository, identities } = fixture;
  const { signal } = new AbortController();
  const target = parseTarget(words, new Date());
  assert.ok(target.kind !== 'backup');
  const recovery = await findRecovery({ repository, identities, database: 'main', target, signal });
  return (await fixture.restoreTo(recovery.target.manifest, { recovery })).directory;
}

async function assertVerified({ repository, identities }: Fixture): Promise<void> {
  const { signal } = new AbortController();
  const report = await verify({ repository, identities, readData: true, progress: silentProgress, signal });
  assert.equal(report.verdict, 'passed', JSON.stringify(report));
}

for (const major of edgeMajors) {
  test(`PostgreSQL ${major}, archive_command – archived WAL alone restores to a transaction and to its end`, async () => {
    await using fixture = await makeFixture();
    await using lab = await ArchiveLab.open({ fixture });
    await using server = await startTestServer({ major, initdbArgs, config: lab.settings });
    await query(server, 'create table t (i int, t text)');
    await lab.receive(server);
    const before = server.log().length;
    await fixture.takeBackup(server);
    await query(server, load(0));
    const { rows } = await query<{ xid: string }>(
      server,
      `insert into t values (-1, 'kept') returning xmin::text as xid`,
    );
    await query(server, 'delete from t', load(10_000));
    await archiveAll(server);
    const contents = await serverContents(server);
    await query(server, 'delete from t');
    await using latest = await startRestored(await restored(fixture, 'latest'), major);
    assert.deepEqual(await serverContents(latest), contents);
    await latest.stop('immediate');
    await using kept = await startRestored(await restored(fixture, `xid:${rows[0]!.xid}`), major);
    const counted = await query<{ n: number }>(kept, 'select count(*)::int as n from t');
    assert.equal(counted.rows[0]!.n, 5001);
    await assertVerified(fixture);
    const { transactions, notSearched } = await findTransactions({
      repository: fixture.repository,
      database: 'main',
      filter: { tables: ['public.t'], drops: false, truncates: false, deletesOver: 100, all: false },
      limit: 10,
      progress: silentProgress,
      signal: new AbortController().signal,
    });
    assert.deepEqual(notSearched, []);
    assert.deepEqual(
      transactions.map(({ changes }) => changes.map(({ deleted }) => deleted)),
      [[5001]],
    );
    const { ranges, windows } = await walStatus(fixture.repository, 'main');
    assert.equal(ranges.length, 1);
    assert.equal(windows[0]!.to, ranges[0]!.to);
    // The backup's own: PostgreSQL archives where it began and ended.
    const labels: string[] = [];
    for await (const name of listLogFiles(fixture.repository.driver, 'main', 'labels')) labels.push(name);
    assert.match(labels.join(), /\/labels\/[0-9A-F]{24}\.[0-9A-F]{8}\.backup$/);
    assert.doesNotMatch(server.log().slice(before), /archive command failed/);
  });
}

test('what is not to be stored – refused with a status and a reason, nothing is stored', async () => {
  await using fixture = await makeFixture();
  await using lab = await ArchiveLab.open({ fixture });
  await using server = await startTestServer({ major: 17, initdbArgs });
  await using other = await startTestServer({ major: 17, initdbArgs });
  await query(server, 'create table t (i int, t text)', load(0));
  await query(other, 'select pg_switch_wal()');
  await lab.receive(server);
  const { rows } = await query<{ name: string }>(server, 'select pg_walfile_name(pg_switch_wal()) as name');
  const { name } = rows[0]!;
  const bytes = await readFile(join(server.dataDir, 'pg_wal', name));
  const refuse = async (path: string, as: string, wanted: [number, RegExp], cwd = server.dataDir) => {
    const { status, stderr } = await lab.archive(path, as, { cwd });
    assert.equal(status, wanted[0], `${as}: ${stderr}`);
    assert.match(stderr, wanted[1]);
    assert.match(stderr, /^helvino: .*\n$/);
    assert.deepEqual(await pieces(fixture), []);
  };
  const changed = (change: (copy: Buffer) => void) => {
    const copy = Buffer.from(bytes);
    change(copy);
    return lab.file(name, copy);
  };
  const whole = await changed(() => undefined);
  for (const odd of ['', 'a b', `../${name}`, '$(id)', `${name};`, 'é'])
    await refuse(whole, odd, [64, /not the name of a WAL file/]);
  for (const odd of [
    '00000001000000000000000a',
    `${name}.gz`,
    `${name}0`,
    '00000001.history',
    `${name.slice(0, 16)}00001000`,
  ])
    await refuse(whole, odd, [64, /not the name of a WAL file.*\[USAGE\]/]);
  await refuse('/nowhere', name, [66, /cannot be read/]);
  await refuse(await lab.file(name, bytes.subarray(1)), name, [76, /1048575 bytes.*\[PROTOCOL\]/]);
  await refuse(await lab.file(name, Buffer.alloc(0)), name, [76, /0 bytes/]);
  await refuse(await lab.file(name, Buffer.alloc(segmentSize)), name, [
    76,
    /does not begin as a WAL segment/,
  ]);
  await refuse(await changed(() => undefined), `${name.slice(0, 20)}00FF`, [76, /begins with position/]);
  // xlp_tli: a segment of timeline 1 has no pages of timeline 2.
  await refuse(await changed((copy) => copy.writeUInt32LE(2, 4)), name, [76, /written on timeline 2/]);
  await refuse(await changed((copy) => copy.writeUInt16LE(0xd118, 0)), name, [
    69,
    /of PostgreSQL 18; main is 17.*\[SERVER_VERSION\]/,
  ]);
  await refuse(await changed((copy) => copy.writeUInt16LE(0xd1fe, 0)), name, [69, /page magic 0xd1fe/]);
  await refuse(await changed((copy) => copy.writeUInt32LE(16 << 20, 32)), name, [
    76,
    /segments have 16777216/,
  ]);
  const foreign = await firstSegment(other);
  await refuse(join(other.dataDir, 'pg_wal', foreign), foreign, [
    65,
    /of the cluster \d+; main is.*\[SERVER_WRONG_CLUSTER\]/,
  ]);
  const history = await lab.file(
    '00000002.history',
    Buffer.from('1\t0/3000148\tno recovery target specified\n'),
  );
  await refuse(history, '00000002.history', [65, /\[SERVER_WRONG_CLUSTER\]/], other.dataDir);
  await refuse(history, '00000002.history', [76, /could not read global\/pg_control/], '/');
  await refuse(await lab.file('x', Buffer.from('2\t0/3000148\tx\n')), '00000002.history', [76, /last entry/]);
  await refuse(history, `${name}.00000028.backup`, [76, /does not begin as a backup history/]);
  await refuse(await changed(() => undefined), `${name}.partial`, [
    66,
    /no stored timeline history leaves timeline 1/,
  ]);
  assert.deepEqual(await logFiles(fixture.repository, 'main'), new Map());
  assert.equal((await lab.archive(await changed(() => undefined), name, { cwd: server.dataDir })).status, 0);
});

test('a cluster made anew, with a backup that says so – its WAL is accepted where none is stored yet, else it needs a database of its own', async () => {
  await using fixture = await makeFixture();
  await using lab = await ArchiveLab.open({ fixture });
  await using server = await startTestServer({ major: 17, initdbArgs });
  await using other = await startTestServer({ major: 17, initdbArgs });
  await lab.receive(server);
  const archive = async ({ dataDir }: TestServer, name: string) =>
    lab.archive(join(dataDir, 'pg_wal', name), name, { cwd: dataDir });
  assert.equal((await archive(other, await firstSegment(other))).status, 65);
  await fixture.takeBackup(server);
  await fixture.takeBackup(other, { newCluster: true });
  assert.equal((await archive(other, await firstSegment(other))).status, 0);
  // Backups are in the order of the seconds in their names.
  await sleep(1100);
  await fixture.takeBackup(server, { newCluster: true });
  const { status, stderr } = await archive(server, await firstSegment(server));
  assert.equal(status, 65);
  assert.match(
    stderr,
    /the WAL stored of main is of another cluster.*database of its own.*\[SERVER_WRONG_CLUSTER\]/,
  );
  const streaming = streamWal({
    ...streamOptions(fixture, new AbortController().signal),
    connection: await resolveConnection({ url: server.url }, {}),
  });
  await assert.rejects(streaming, /the WAL stored of main is of another cluster/);
});

test('the same file again – stored once; with other content – status 73, nothing is overwritten', async () => {
  await using fixture = await makeFixture();
  await using lab = await ArchiveLab.open({ fixture });
  await using server = await startTestServer({ major: 16, initdbArgs });
  await query(server, 'create table t (i int, t text)', load(0));
  await lab.receive(server);
  const { rows } = await query<{ name: string }>(server, 'select pg_walfile_name(pg_switch_wal()) as name');
  const { name } = rows[0]!;
  const bytes = await readFile(join(server.dataDir, 'pg_wal', name));
  const path = await lab.file(name, bytes);
  assert.equal((await lab.archive(path, name)).status, 0);
  const stored = await readFile(join(fixture.root, pieceOf(name)));
  const both = await Promise.all([lab.archive(path, name), lab.archive(path, name)]);
  assert.deepEqual(
    both.map(({ status, stderr }) => [status, stderr]),
    [
      [0, ''],
      [0, ''],
    ],
  );
  bytes[segmentSize - 1]! ^= 1;
  const { status, stderr } = await lab.archive(await lab.file(name, bytes), name);
  assert.equal(status, 73);
  assert.match(stderr, /is stored with other content; nothing was overwritten.*\[WAL_CONFLICT\]/);
  assert.deepEqual(await readFile(join(fixture.root, pieceOf(name))), stored);
  assert.equal((await pieces(fixture)).length, 1);
});

test('a receiver that is not there, goes away, stands still, is closed to the server – the client fails in time', async () => {
  await using fixture = await makeFixture();
  await using lab = await ArchiveLab.open({ fixture, seconds: 3 });
  await using server = await startTestServer({ major: 15, initdbArgs });
  const name = await firstSegment(server);
  const archive = (shell: string[] = []) =>
    lab.archive(join(server.dataDir, 'pg_wal', name), name, { cwd: server.dataDir, shell });
  const failsWith = async (wanted: [number, RegExp], outcome = archive()) => {
    const { status, stderr } = await outcome;
    assert.equal(status, wanted[0], stderr);
    assert.match(stderr, wanted[1]);
    assert.match(stderr, /^helvino: .*\n$/);
  };
  await failsWith([75, /no receiver has ever run/]);
  const first = await lab.receive(server);
  first.kill();
  await first.ended;
  for (const shell of ['dash', 'bash', 'busybox'])
    if (await hasProgram(shell))
      await failsWith([75, /no receiver listens/], archive(shell === 'busybox' ? [shell, 'ash'] : [shell]));
  const second = await lab.receive(server);
  second.kill('SIGSTOP');
  await failsWith([75, /did not answer within 3 seconds/]);
  const waiting = archive();
  await sleep(500);
  second.kill();
  await failsWith([75, /went away before it answered/], waiting);
  await lab.receive(server);
  const third = await lab.receive(server);
  assert.match(third.output, /failed REPOSITORY_BUSY another receiver listens/);
  assert.equal(await third.ended, 75);
  assert.equal((await archive()).status, 0);
  assert.deepEqual(await readdir(join(lab.folder, 'clients')), []);
  if (process.getuid?.() !== 0) return;
  // Another user than those of the group.
  for (const folder of ['', 'clients', 'requests']) await chown(join(lab.folder, folder), 0, 0);
  await failsWith([77, /closed to this user/]);
});

test('a client that dies, a stranger in the folder – the receiver goes on', async () => {
  await using fixture = await makeFixture();
  await using lab = await ArchiveLab.open({ fixture });
  await using server = await startTestServer({ major: 15, initdbArgs });
  const receiver = await lab.receive(server);
  const name = await firstSegment(server);
  const bytes = await readFile(join(server.dataDir, 'pg_wal', name));
  const half = await lab.file('half', bytes.subarray(0, 1000));
  const clients = join(lab.folder, 'clients');
  const sh = (script: string) => promisify(execFile)('sh', ['-c', script], { cwd: clients });
  // One that dies after a part, one that leaves a file where a pipe should be, a link, rubbish.
  await sh(
    `mkdir 1 && mkfifo 1/reply 1/data && echo 1 >../requests && (cat 1/reply >1/got & echo 'helvino-wal 1 ${segmentSize} ${name} -' | cat - '${half}' >1/data; wait)`,
  );
  assert.match(await readFile(join(clients, '1/got'), 'utf8'), /^refused 76 1000 bytes came, not 1048576/);
  const victim = await lab.file('victim', Buffer.from('untouched'));
  await sh(`mkdir 2 && ln -s '${victim}' 2/reply && mkfifo 2/data && echo 2 >../requests`);
  await sh(`mkdir 3 && cp '${victim}' 3/reply && mkfifo 3/data && echo 3 >../requests`);
  await sh(`printf '../../x\n\n9999\nrubbish %s\n' "$(head -c 3000 /dev/zero | tr '\\0' x)" >../requests`);
  assert.equal((await lab.archive(join(server.dataDir, 'pg_wal', name), name)).status, 0);
  for (const file of [victim, join(clients, '3/reply')])
    assert.equal(await readFile(file, 'utf8'), 'untouched');
  assert.match(receiver.output, /was refused: 1000 bytes came/);
});

test('kill -9 of the receiver under load – what PostgreSQL holds for archived is stored, byte for byte', async () => {
  await using fixture = await makeFixture();
  await using lab = await ArchiveLab.open({ fixture });
  const config = { ...lab.settings, wal_keep_size: '200MB', max_wal_size: '200MB' };
  await using server = await startTestServer({ major: 18, initdbArgs, config });
  await query(server, 'create table t (i int, t text)');
  for (let round = 0; round < 8; round++) {
    const receiver = await lab.receive(server);
    for (let i = 0; i < 3; i++) await query(server, load(round * 100_000 + i * 5000));
    await sleep(40 * round);
    receiver.kill();
    await receiver.ended;
  }
  await lab.receive(server);
  await archiveAll(server);
  const log = await StoredLog.open(fixture.repository, fixture.identities, 'main');
  const done = (await readdir(join(server.dataDir, 'pg_wal/archive_status')))
    .map((file) => /^([0-9A-F]{24})\.done$/.exec(file)?.[1])
    .filter((name) => name !== undefined);
  assert.ok(done.length >= 10, done.join());
  for (const name of done) {
    const { timeline, begin } = parseWalFileName(name, segmentSize)!;
    const stored: Uint8Array[] = [];
    const range = { line: timeline, from: begin, to: begin + BigInt(segmentSize) };
    for await (const bytes of log.bytes(range)) stored.push(Buffer.from(bytes));
    assert.ok(Buffer.concat(stored).equals(await readFile(join(server.dataDir, 'pg_wal', name))), name);
  }
  await assertVerified(fixture);
});

test('a promotion within a segment – histories and the incomplete segment are archived, restores go across; the old server may go on', async () => {
  await using fixture = await makeFixture();
  await using lab = await ArchiveLab.open({ fixture });
  await using primary = await startTestServer({ major: 17, initdbArgs, config: lab.settings });
  await query(primary, 'create table t (i int, t text)');
  await lab.receive(primary);
  await fixture.takeBackup(primary);
  await query(primary, load(0));
  await archiveAll(primary);
  await primary.stop();
  const dataDir = join(await serverFolder(), 'standby');
  await cp(primary.dataDir, dataDir, { recursive: true });
  await promisify(execFile)('chown', ['-R', '--reference', primary.dataDir, dataDir]);
  await writeFile(join(dataDir, 'standby.signal'), '');
  const socket = `host=127.0.0.1 port=${primary.port} user=postgres`;
  await primary.start();
  await using standby = await startTestServer({ major: 17, dataDir, config: { primary_conninfo: socket } });
  await query(primary, `insert into t values (-1, 'before')`);
  await until('the standby has it', async () => {
    const { rows } = await query<{ n: number }>(standby, 'select count(*)::int as n from t where i = -1');
    return rows[0]!.n === 1;
  });
  await primary.stop('immediate');
  await query(standby, 'select pg_promote()', `insert into t values (-2, 'after')`);
  const last = await archiveAll(standby);
  assert.equal(last.slice(0, 8), '00000002');
  const contents = await serverContents(standby);
  const segmentOfSwitch = `00000001${last.slice(8)}`;
  const partial = (await pieces(fixture)).find(
    ({ line, begin }) => line === 1 && begin === parseWalFileName(segmentOfSwitch, segmentSize)!.begin,
  );
  assert.ok(partial && partial.end < partial.begin + BigInt(segmentSize), 'the part up to the promotion');
  // Each part of a segment that two timelines share has an index, of one of them.
  const found = await findTransactions({
    repository: fixture.repository,
    database: 'main',
    filter: { tables: ['t'], drops: false, truncates: false, all: false },
    limit: 2,
    progress: silentProgress,
    signal: new AbortController().signal,
  });
  assert.deepEqual(
    [found.notSearched, found.transactions.map(({ timeline, isPast }) => [timeline, isPast])],
    [
      [],
      [
        [1, false],
        [2, false],
      ],
    ],
  );
  assert.deepEqual([...(await logFiles(fixture.repository, 'main')).keys()], ['00000002.history']);
  await using one = await startRestored(await restored(fixture, 'latest'), 17);
  assert.deepEqual(await serverContents(one), contents);
  // The old one comes back and archives its own end of the segment: beside the part, not over it.
  await primary.start();
  await query(primary, `insert into t values (-3, 'elsewhere')`);
  assert.equal(await archiveAll(primary), segmentOfSwitch);
  assert.ok((await pieces(fixture)).some(({ name }) => name === pieceOf(segmentOfSwitch)));
  await using two = await startRestored(await restored(fixture, 'latest'), 17);
  assert.deepEqual(await serverContents(two), contents);
  await assertVerified(fixture);
});

test('archive_command beside the stream – both store the same, neither is in the way', async () => {
  await using fixture = await makeFixture();
  await using lab = await ArchiveLab.open({ fixture });
  await using server = await startTestServer({ major: 18, initdbArgs, config: lab.settings });
  await query(server, 'create table t (i int, t text)');
  await lab.receive(server);
  await fixture.takeBackup(server);
  const stop = new AbortController();
  let durable = 0n;
  const streaming = streamWal({
    ...streamOptions(fixture, stop.signal),
    connection: await resolveConnection({ url: server.url }, {}),
    onStored: (state) => {
      durable = state.durable;
    },
  });
  streaming.catch(() => undefined);
  await until('the stream is there', async () => durable > 0n);
  // After the switch the rest of a segment is zero, in the stream and in the file.
  for (let i = 0; i < 4; i++) await query(server, load(i * 5000), 'select pg_switch_wal()');
  await query(server, load(90_000));
  const last = await archiveAll(server);
  const end = parseWalFileName(last, segmentSize)!.begin + BigInt(segmentSize);
  await until('the stream has it all', async () => durable >= end);
  stop.abort();
  await streaming;
  const contents = await serverContents(server);
  assert.doesNotMatch(server.log(), /WAL_CONFLICT/);
  assert.equal((await walStatus(fixture.repository, 'main')).ranges.length, 1);
  await using latest = await startRestored(await restored(fixture, 'latest'), 18);
  assert.deepEqual(await serverContents(latest), contents);
  await assertVerified(fixture);
});
