/** A restore that is killed at any moment: the directory does not start, and the same restore, run again, completes it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  differences,
  type Fixture,
  makeFixture,
  query,
  serverContents,
  startRestored,
  treeOf,
} from '../../../test/backup-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import type { RestoreChildArguments } from '../../../test/restore-child.ts';
import { HelvinoError } from '../../base/errors.ts';
import { processPlace, startTime } from '../../base/process-state.ts';
import type { Manifest } from '../../repository/index.ts';

const script = fileURLToPath(new URL('../../../test/restore-child.ts', import.meta.url));

let server: TestServer;
let fixture: Fixture;
let first: Manifest;
let second: Manifest;

before(async () => {
  fixture = await makeFixture();
  server = await startTestServer({ major: 16, initdbArgs: ['-k'] });
  await query(
    server,
    'create table t as select i, md5(i::text) as m from generate_series(1, 60000) i',
    'create index on t (m)',
  );
  first = await fixture.takeBackup(server);
  await query(
    server,
    'update t set m = upper(m) where i % 3 = 0',
    'create table u as select * from t',
    'checkpoint',
  );
  second = await fixture.takeBackup(server);
});

after(async () => {
  await server?.[Symbol.asyncDispose]();
  await fixture?.[Symbol.asyncDispose]();
});

interface Ended {
  readonly killed: boolean;
  /** Progress events by phase. */
  readonly events: Record<string, number>;
  readonly ms: number;
}

async function child(
  manifest: Manifest,
  how: Pick<RestoreChildArguments, 'directory' | 'delta' | 'killAt'>,
  killAfterMs?: number,
): Promise<Ended> {
  const { root, identity } = fixture;
  const wanted: RestoreChildArguments = { root, identity, database: 'main', id: manifest.id, ...how };
  const begun = performance.now();
  const process_ = spawn(process.execPath, [script, JSON.stringify(wanted)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  process_.stdout.on('data', (chunk: Buffer) => (output += chunk));
  const timer =
    killAfterMs === undefined ? undefined : setTimeout(() => process_.kill('SIGKILL'), killAfterMs);
  const [code, signal] = await once(process_, 'close');
  clearTimeout(timer);
  const killed = signal === 'SIGKILL';
  assert.ok(killed || code === 0, `the restore ended with ${code}`);
  const events = killed ? {} : (JSON.parse(output) as Record<string, number>);
  return { killed, events, ms: performance.now() - begun };
}

const starts = (directory: string) =>
  access(join(directory, 'global/pg_control')).then(
    () => true,
    () => false,
  );

async function assertEqual(directory: string, fresh: Record<string, string>, when: string): Promise<void> {
  assert.deepEqual(differences(await treeOf(directory), fresh), [], when);
}

test('killed at each phase of a restore into an empty directory – does not start; run again it is complete', async () => {
  const directory = join(fixture.home, 'killed');
  const whole = await child(first, { directory, delta: false });
  const fresh = await treeOf(directory);
  const phases = Object.entries(whole.events);
  assert.ok(phases.length >= 3, JSON.stringify(whole.events));
  for (const [phase, count] of phases) {
    await rm(directory, { recursive: true });
    const event = 1 + Math.floor(Math.random() * count);
    const when = `killed at event ${event} of ${count} of "${phase}"`;
    const { killed } = await child(first, { directory, delta: false, killAt: { phase, event } });
    assert.ok(killed, when);
    assert.equal(await starts(directory), false, when);
    await assert.rejects(startTestServer({ major: 16, dataDir: directory }), /did not start/, when);
    // Another backup is not mixed into it unasked.
    await assert.rejects(fixture.restoreTo(second, { directory }), { code: 'TARGET_NOT_EMPTY' }, when);
    await child(first, { directory, delta: false });
    await assertEqual(directory, fresh, when);
  }
  await using restored = await startRestored(directory, 16);
  assert.deepEqual(await serverContents(restored), await fixture.recorded(first));
});

test('another restore is at work in the directory – refused while it lives, gone on with when it is dead', async () => {
  const directory = join(fixture.home, 'two-at-once');
  const other = spawn('sleep', ['600'], { stdio: 'ignore' });
  const pid = other.pid!;
  const marker = { backup: first.id, place: processPlace(), pid, start: startTime(pid) };
  await mkdir(directory);
  const write = (over: object) =>
    writeFile(join(directory, 'helvino-restore.json'), JSON.stringify({ ...marker, ...over }));
  try {
    await write({});
    for (const delta of [false, true])
      await assert.rejects(fixture.restoreTo(first, { directory, delta }), {
        code: 'TARGET_IN_USE',
        message: new RegExp(`another restore \\(process ${pid}\\)`),
      });
    // Its number belongs to another process now, or is one of another machine.
    for (const over of [{ start: '1' }, { place: 'elsewhere' }]) {
      await write(over);
      await fixture.restoreTo(first, { directory });
      await rm(directory, { recursive: true });
      await mkdir(directory);
    }
    await write({});
  } finally {
    other.kill('SIGKILL');
    await once(other, 'exit');
  }
  await fixture.restoreTo(first, { directory });
  await using restored = await startRestored(directory, 16);
  assert.deepEqual(await serverContents(restored), await fixture.recorded(first));
});

test('killed at random moments of a delta restore, many times on the same directory – never starts half-done', async () => {
  const { directory } = await fixture.restoreTo(first);
  const fresh = await treeOf((await fixture.restoreTo(second)).directory);
  let { ms: span } = await child(first, { directory: join(fixture.home, 'measured'), delta: false });
  let kills = 0;
  for (let round = 0; round < 8; round++) {
    // To and fro: what is there is either backup, or half of one.
    const manifest = round % 3 === 2 ? first : second;
    const after = span * (0.3 + 0.7 * Math.random());
    const { killed, ms } = await child(manifest, { directory, delta: true }, after);
    if (killed) kills++;
    // It had less to do, or other work on the machine has ended.
    else span = Math.min(span, ms);
  }
  assert.ok(kills > 0, 'at least one was killed');
  await child(second, { directory, delta: true });
  await assertEqual(directory, fresh, `after ${kills} kills`);
  await using restored = await startRestored(directory, 16);
  assert.deepEqual(await serverContents(restored), await fixture.recorded(second));
});

test('a restore that is interrupted – stops, and goes on when run again', async () => {
  const controller = new AbortController();
  const progress = {
    phase: (name: string) =>
      name === 'restoring' && controller.abort(new HelvinoError('INTERRUPTED', 'stopped')),
    advance() {},
    total() {},
    note() {},
  };
  const directory = join(fixture.home, 'interrupted');
  await assert.rejects(fixture.restoreTo(first, { directory, progress, signal: controller.signal }), {
    code: 'INTERRUPTED',
  });
  assert.equal(await starts(directory), false);
  await fixture.restoreTo(first, { directory });
  await assertEqual(directory, await treeOf((await fixture.restoreTo(first)).directory), 'interrupted');
});
