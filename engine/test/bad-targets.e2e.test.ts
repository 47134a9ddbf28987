/** What cannot be restored is refused by the command line before anything is written, and says what can. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parseLsn } from '../src/postgres/index.ts';
import { query } from './backup-fixture.ts';
import { helvino, helvinoJson } from './cli.ts';
import { startTestServer, type TestServer } from './pg-server.ts';
import { type RunningStream, streamByCli } from './wal-stream-cli.ts';

let server: TestServer;
let home: string;
/** Positions and times before the backup, and after it, in order. */
const moments: { lsn: string; time: string; xid: string }[] = [];
const identity = 'helvino-recovery-identity.txt';

async function moment(n: number): Promise<void> {
  await query(server, `insert into t values (${n}, repeat(md5('${n}'), 1000))`);
  const { rows } = await query<{ lsn: string; time: string; xid: string }>(
    server,
    `select pg_current_wal_insert_lsn()::text as lsn, clock_timestamp()::text as time, (select xmin::text from t where n = ${n}) as xid`,
  );
  moments.push(rows[0]!);
}

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'hv-targets-'));
  server = await startTestServer({ major: 18, initdbArgs: ['--wal-segsize=1'] });
  await query(server, 'create table t (n int, body text)', 'create table s (n int)');
  const init = await helvinoJson(['init', '--url', server.url, '--path', 'repository'], { cwd: home });
  assert.ok(init.ok, JSON.stringify(init));
  await using stream: RunningStream = await streamByCli(home, server);
  await moment(1);
  const backup = await helvinoJson(['backup', '--fingerprint', 'off'], { cwd: home });
  assert.ok(backup.ok, JSON.stringify(backup));
  for (let n = 2; n <= 6; n++) {
    await moment(n);
    await query(server, 'select pg_switch_wal()');
  }
  await moment(7);
  await query(server, 'begin; savepoint a; insert into s values (1); commit');
  await stream.upToNow();
});

after(async () => {
  await server[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

async function restoreTo(
  words: readonly string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
) {
  const args = ['restore', '--to', ...words, '--to-directory', 'restored', '--identity', identity];
  const answer = await helvinoJson(args, { cwd: home, ...options });
  const written = await stat(join(options.cwd ?? home, 'restored')).catch(() => undefined);
  return { ...answer, written: written !== undefined };
}

async function refused(words: readonly string[], code: string, message: RegExp): Promise<string> {
  const answer = await restoreTo(words);
  assert.deepEqual([answer.error?.code, answer.written], [code, false], JSON.stringify(answer));
  assert.match(answer.error!.message, message);
  return answer.error!.hint ?? '';
}

test('targets that are nowhere – refused, with from where to where one can recover', async () => {
  const window = /recoverable is from [0-9A-F/]+ \(the end of backup \S+, [^)]+ UTC\) to [0-9A-F/]+/;
  assert.match(await refused(['FF/0'], 'TARGET_UNREACHABLE', /ends at/), window);
  assert.match(await refused(['xid:4000000000'], 'TARGET_UNREACHABLE', /not in the WAL/), window);
  assert.match(await refused(['before:xid:4000000000'], 'TARGET_UNREACHABLE', /not in the WAL/), window);
  assert.match(await refused(['name:never made'], 'TARGET_UNREACHABLE', /not in the WAL/), window);
  assert.match(await refused(['2090-01-01 00:00Z'], 'TARGET_UNREACHABLE', /last transaction stored/), window);
});

async function foundXid(xid: string): Promise<{ text: string; result: Record<string, unknown> }> {
  const words = ['find', '--all', '--xid', xid];
  const { stdout } = await helvino(words, { cwd: home });
  const answer = await helvinoJson(words, { cwd: home });
  const [result] = (answer.result?.transactions ?? []) as Record<string, unknown>[];
  return { text: stdout, result: result ?? assert.fail(JSON.stringify(answer)) };
}

test('find by the number of a savepoint’s work – not in the index; the command that is printed says what it is', async () => {
  const { rows } = await query<{ xid: string }>(server, 'select xmin::text as xid from s');
  const { xid } = rows[0]!;
  // From a folder that has no configuration, for which the printed command has to name it.
  const cwd = join(home, 'else where');
  await mkdir(cwd);
  const words = ['--xid', xid, '--database', 'main', '--timeline', '1'];
  const outcome = await helvino(['find', '--config', '../helvino.yaml', ...words], { cwd });
  assert.equal(outcome.status, 1, outcome.stderr);
  const command = /^ {4}helvino (restore .*)$/m.exec(outcome.stdout)?.[1];
  assert.ok(command?.includes('--timeline 1 --config ../helvino.yaml --database main'), outcome.stdout);
  const said = await helvino([...command!.split(' '), '--identity', join(home, identity)], { cwd });
  assert.equal(said.status, 0, said.stderr);
  assert.match(said.stdout + said.stderr, new RegExp(`\\(${xid} is a subtransaction of it\\)`));
});

test('find of transactions before the first backup – told, without a command; of those after it with one', async () => {
  const [before, later] = moments;
  const found = async (xid: string) => {
    const { text, result } = await foundXid(xid);
    return { text, restore: result.restore, unreachable: result.unreachable };
  };
  const first = await found(before!.xid);
  assert.deepEqual([first.restore, first.unreachable], [null, 'no backup that is there ended before it']);
  assert.match(first.text, /just before it: cannot be restored: no backup that is there ended before it$/m);
  const second = await found(later!.xid);
  assert.deepEqual(second.unreachable, undefined);
  assert.match(second.text, /just before it: helvino restore --to before:xid:/);
});

test('targets before the first backup – refused; the nearest that can be reached is named, and can be reached', async () => {
  const [first] = moments;
  await refused([first!.time], 'TARGET_UNREACHABLE', /before the end of every backup/);
  const hint = await refused([first!.lsn], 'TARGET_UNREACHABLE', /before the end of every backup/);
  const nearest = /recoverable is from ([0-9A-F/]+)/.exec(hint)![1]!;
  assert.ok(parseLsn(nearest) > parseLsn(first!.lsn));
  const answer = await restoreTo([nearest, '--dry-run']);
  assert.ok(answer.ok, JSON.stringify(answer));
});

test('a timeline that no backup leads to – refused; those that are stored are named', async () => {
  const hint = await refused(['latest', '--timeline', '7'], 'BACKUP_NOT_FOUND', /timeline 7/);
  assert.match(hint, /timeline 1\b/);
  await refused(['latest', '--timeline', 'x'], 'USAGE', /"x" is not a timeline/);
  // A backup has its own: it would be left out of account.
  await refused(['backup', '--timeline', '1'], 'USAGE', /--timeline 1 was given, and no --to/);
});

test('times – without a zone refused with what to write; a zone by its name is understood, TZ changes nothing', async () => {
  const time = '2026-07-01 12:00:00';
  assert.match(await refused([time], 'USAGE', /has no zone/), /12:00:00Z .*\+01:00/);
  await refused([`${time} CEST`], 'USAGE', /CEST/);
  await refused([`${time} Europe/Nowhere`], 'USAGE', /Europe\/Nowhere/);
  // The clocks go back: this hour is there twice; and forward: this one is not there.
  await refused(['2026-10-25 02:30 Europe/Berlin'], 'USAGE', /twice.*\+02:00.*\+01:00/);
  await refused(['2026-03-29 02:30 Europe/Berlin'], 'USAGE', /is not there/);
  const far = '2026-07-01 14:00 Europe/Berlin';
  for (const TZ of ['America/New_York', 'Asia/Kolkata', 'UTC']) {
    const answer = await restoreTo([far], { env: { TZ } });
    const said = /^(\S+) (\S+) (UTC|[+-]\d\d:\d\d) cannot be reached/.exec(answer.error?.message ?? '');
    assert.ok(said, JSON.stringify(answer));
    const [, date, clock, zone] = said;
    const time = new Date(`${date}T${clock}${zone === 'UTC' ? 'Z' : zone}`);
    assert.equal(time.toISOString(), '2026-07-01T12:00:00.000Z', TZ);
  }
});

/** The stored whole segment that holds the position. */
async function pieceAt(root: string, lsn: string): Promise<string> {
  const folder = join(root, 'wal/main/00000001');
  const at = parseLsn(lsn);
  const holds = (name: string) => {
    const [begin, end] = name.split('-').map((hex) => BigInt(`0x${hex}`));
    return begin! <= at && at < end!;
  };
  const name = (await readdir(folder)).find(holds);
  assert.ok(name, lsn);
  return join(folder, name);
}

test('a segment is missing – what is behind it is refused, the last point before it is named and can be reached', async () => {
  const path = await pieceAt(join(home, 'repository'), moments[3]!.lsn);
  const bytes = await readFile(path);
  await rm(path);
  try {
    const hint = await refused([moments[5]!.lsn], 'TARGET_UNREACHABLE', /ends at/);
    const last = /\) to ([0-9A-F/]+)/.exec(hint)![1]!;
    assert.ok(parseLsn(last) <= parseLsn(moments[3]!.lsn));
    const gap = /there is a gap from \S+ to \S+ \(nobody has recorded why.*may be in it, or behind it/;
    for (const words of [`xid:${moments[5]!.xid}`, moments[5]!.time])
      await refused([words], 'TARGET_UNREACHABLE', gap);
    const { result } = await foundXid(moments[5]!.xid);
    assert.equal(result.restore, null);
    assert.match(String(result.unreachable), new RegExp(`, stored WAL leads to ${last} only$`));
    assert.ok((await restoreTo([last, '--dry-run'])).ok);
    // Not the newest that is stored: that is said, to machines, too.
    const latest = await restoreTo(['latest', '--dry-run']);
    const { recovery } = latest.result as { recovery: { end: string; timeline: number; cut?: string } };
    assert.deepEqual([recovery.end, recovery.timeline], [last, 1]);
    assert.ok(recovery.cut);
    assert.match(latest.warnings!.join('\n'), /not the newest that is stored.*there is a gap/);
  } finally {
    await writeFile(path, bytes, { mode: 0o600 });
  }
});

test('a segment is damaged – it is named, with the last point before it, which can be reached', async () => {
  const path = await pieceAt(join(home, 'repository'), moments[3]!.lsn);
  const bytes = await readFile(path);
  const changed = Buffer.from(bytes);
  changed[changed.length >> 1]! ^= 1;
  await writeFile(path, changed);
  try {
    // A transaction is looked for in the WAL: that reads it before anything is written.
    const hint = await refused(
      [`xid:${moments[5]!.xid}`],
      'REPOSITORY_DAMAGED',
      /WAL of timeline 1 from .*wal\/main\/00000001/,
    );
    const last = /--to ([0-9A-F/]+)/.exec(hint)![1]!;
    assert.ok(parseLsn(last) <= parseLsn(moments[3]!.lsn));
    assert.ok((await restoreTo([last, '--dry-run'])).ok);
    // An LSN is not: the restore meets it, and no server starts on what it leaves.
    const answer = await restoreTo([moments[5]!.lsn]);
    assert.equal(answer.error?.code, 'REPOSITORY_DAMAGED');
    assert.match(answer.error.message, /WAL of timeline 1 from/);
    assert.ok(await stat(join(home, 'restored/helvino-restore.json')));
    // A cluster that is there is not given up for it.
    await rm(join(home, 'restored'), { recursive: true });
    assert.ok((await restoreTo([last])).ok);
    const over = ['--delta', '--confirm', join(home, 'restored')];
    assert.equal((await restoreTo([moments[5]!.lsn, ...over])).error?.code, 'REPOSITORY_DAMAGED');
    assert.ok(await stat(join(home, 'restored/global/pg_control')));
  } finally {
    await writeFile(path, bytes);
    await rm(join(home, 'restored'), { recursive: true, force: true });
  }
});

/** What `doctor`, `wal status` and `health` say. */
interface Asked {
  readonly findings?: readonly { name: string; state: string; detail: string; hint?: string }[];
  readonly alarms?: readonly { name: string; message: string }[];
  readonly lag?: unknown;
  readonly slot?: unknown;
  readonly databases?: readonly {
    state: string;
    lag?: unknown;
    checks: readonly { name: string; state: string; detail: string }[];
    recoverable: { to: string };
  }[];
}

async function systemId(of: TestServer): Promise<string> {
  const sql = 'select system_identifier::text as id from pg_control_system()';
  return (await query<{ id: string }>(of, sql)).rows[0]!.id;
}

test('a server of another cluster – its WAL and its backups are refused by the repository; nothing says that all is well', async () => {
  const begun = Date.now();
  await using other = await startTestServer({ major: 18, initdbArgs: ['--wal-segsize=1'] });
  const config = await readFile(join(home, 'helvino.yaml'), 'utf8');
  await writeFile(join(home, 'other.yaml'), config.replaceAll(`:${server.port}/`, `:${other.port}/`), {
    mode: 0o600,
  });
  for (const verb of [['wal', 'stream'], ['backup']]) {
    const answer = await helvinoJson([...verb, '--config', 'other.yaml'], { cwd: home });
    assert.equal(answer.error?.code, 'SERVER_WRONG_CLUSTER', JSON.stringify(answer));
  }
  const [theirs, ours] = [await systemId(other), await systemId(server)];
  const said = new RegExp(`system identifier is ${theirs}; the backups of main are of ${ours}`);
  const asked = async (...words: string[]) => {
    const answer = await helvinoJson([...words, '--config', 'other.yaml'], { cwd: home });
    return { status: answer.status, result: answer.result as unknown as Asked };
  };
  const doctor = await asked('doctor');
  const missing = doctor.result.findings!.filter(({ state }) => state === 'missing');
  assert.deepEqual([doctor.status, missing.map(({ name }) => name)], [1, ['cluster']]);
  assert.match(missing[0]!.detail, said);
  assert.match(missing[0]!.hint!, /a database of its own/);
  assert.ok(!doctor.result.findings!.some(({ detail }) => /no WAL stream has run yet/.test(detail)));

  const { status, result } = await asked('wal', 'status');
  assert.deepEqual([status, result.alarms!.map(({ name }) => name)], [1, ['cluster']]);
  assert.match(result.alarms![0]!.message, said);
  assert.deepEqual([result.lag, result.slot], [undefined, undefined]);
  const words = await helvino(['wal', 'status', '--config', 'other.yaml'], { cwd: home });
  assert.match(words.stdout, /^ALARM {2}the server is another cluster/);
  assert.doesNotMatch(words.stdout, /ahead/);

  const healthy = await asked('health');
  const [main] = healthy.result.databases!;
  assert.deepEqual([healthy.status, main!.state, main!.lag], [2, 'critical', undefined]);
  const checks = main!.checks.filter(({ name }) => name.startsWith('WAL '));
  assert.deepEqual(
    checks.map(({ name, state }) => [name, state]),
    [['WAL cluster', 'critical']],
  );
  assert.match(checks[0]!.detail, said);
  // What was stored last, not the moment at which one asks.
  assert.ok(Date.parse(main!.recoverable.to) < begun, main!.recoverable.to);

  const right = await helvinoJson(['doctor'], { cwd: home });
  const { findings = [] } = right.result as unknown as Asked;
  assert.equal(findings.find(({ name }) => name === 'cluster')?.state, 'good', JSON.stringify(right));
});
