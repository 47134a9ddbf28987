import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { query } from './backup-fixture.ts';
import { helvino, helvinoJson, type JsonAnswer } from './cli.ts';
import { serverFolder, startTestServer, testServerUser } from './pg-server.ts';

test('wal client and wal receive, set up as they print it – WAL is archived until SIGTERM, then shown', async () => {
  const home = await mkdtemp(join(tmpdir(), 'hv-archive-cli-'));
  // The server's account runs the client and meets the receiver here.
  const shared = await serverFolder('hv-archive-shared-');
  await using server = await startTestServer({ major: 18, config: { archive_mode: 'on' } });
  try {
    const here = { cwd: home };
    assert.equal(
      (await helvino(['init', '--url', server.url, '--path', 'repository', '--database', 'shop'], here))
        .status,
      0,
    );
    const meet = ['--folder', join(shared, 'run')];
    const output = ['--output', join(shared, 'helvino-archive')];
    const said = await helvino(['wal', 'client', ...meet, ...output], here);
    assert.equal(said.status, 0, said.stderr);
    const command = /^archive_command = ('.*')$/m.exec(said.stdout)?.[1];
    assert.equal(command, `'${join(shared, 'helvino-archive')} "%p" "%f"'`);
    const user = await testServerUser();
    const group = user === undefined ? [] : ['--group', String(user.gid)];
    const launcher = fileURLToPath(new URL('../bin/helvino.mjs', import.meta.url));
    const child = spawn(process.execPath, [launcher, 'wal', 'receive', ...meet, ...group, '--json'], {
      cwd: home,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let answer = '';
    child.stdout.on('data', (chunk: Buffer) => (answer += chunk));
    const closed = once(child, 'close');
    await query(server, `alter system set archive_command = ${command}`, 'select pg_reload_conf()');
    const archived = async () => {
      const { rows } = await query<{ name: string | null }>(
        server,
        `select last_archived_wal as name from pg_stat_archiver`,
      );
      return rows[0]!.name;
    };
    for (let i = 0; i < 200 && (await archived()) === null; i++) {
      await query(server, `select pg_logical_emit_message(true, 'x', 'x')`, 'select pg_switch_wal()');
      await sleep(200);
    }
    const last = await archived();
    assert.ok(last, server.log());
    child.kill('SIGTERM');
    const [status] = await closed;
    assert.equal(status, 0, answer);
    const { result } = JSON.parse(answer) as JsonAnswer;
    assert.ok(Number(result?.files) >= 1 && String(result?.last) >= last, answer);
    const shown = await helvinoJson(['wal', 'status'], here);
    // The server archives to us: that there is no stream is no alarm.
    assert.doesNotMatch(JSON.stringify(shown.result?.alarms), /"stream"/);
    assert.equal(((shown.result?.ranges ?? []) as unknown[]).length, 1, JSON.stringify(shown));
  } finally {
    for (const folder of [home, shared]) await rm(folder, { recursive: true, force: true });
  }
});

test('wal client and wal receive, wrong folders and places – refused with what to do', async () => {
  const home = await mkdtemp(join(tmpdir(), 'hv-archive-cli-'));
  await using server = await startTestServer({ major: 14 });
  try {
    const here = { cwd: home };
    assert.equal(
      (await helvino(['init', '--url', server.url, '--path', 'repository', '--database', 'shop'], here))
        .status,
      0,
    );
    for (const [words, code] of [
      [['wal', 'client', '--output', 'with blank'], 'USAGE'],
      [['wal', 'client', '--output', '/nowhere/archive'], 'TARGET_IO'],
      [['wal', 'client', '--output', 'archive', '--timeout', '2h'], 'USAGE'],
      [['wal', 'receive', '--folder', '/dev/null/x'], 'TARGET_IO'],
      [['wal', 'receive', '--folder', '.'], 'TARGET_NOT_EMPTY'],
      [['wal', 'receive', '--folder', 'run', '--group', 'no-such-group'], 'USAGE'],
    ] as const) {
      const { error } = await helvinoJson(words, here);
      assert.equal(error?.code, code, JSON.stringify(error));
      assert.ok(error?.hint || code === 'USAGE');
    }
  } finally {
    await rm(home, { recursive: true, force: true });
  }
});
