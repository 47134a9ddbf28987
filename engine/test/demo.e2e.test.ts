/** What `--keep` keeps: package.e2e.test.ts. */
import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { helvino, helvinoJson } from './cli.ts';

interface Demo {
  readonly backups: { kind: string; bytes: number; stored: number }[];
  readonly accident: {
    deleted: { conversations: number; messages: number };
    found: { deleted: number };
    rescued: number;
    later: number;
    same: boolean;
  };
  readonly drill: { verdict: string; checks: { state: string }[] };
  readonly kept?: string;
}

/** A folder that a normal user can pass through, too: the servers are another user's. */
async function place(): Promise<{ cwd: string; env: Record<string, string> } & AsyncDisposable> {
  const cwd = await mkdtemp(join(tmpdir(), 'hv-demo-'));
  const temporary = join(cwd, 'tmp');
  await mkdir(temporary);
  for (const folder of [cwd, temporary]) await chmod(folder, 0o755);
  return {
    cwd,
    env: { TMPDIR: temporary },
    [Symbol.asyncDispose]: () => rm(cwd, { recursive: true, force: true }),
  };
}

test('helvino demo – backups, an accident that is found and rescued, a proven restore; nothing is left behind', async () => {
  await using here = await place();
  const begun = performance.now();
  const answer = await helvinoJson(['demo'], here);
  const seconds = (performance.now() - begun) / 1000;
  assert.ok(seconds < 90, `${seconds.toFixed(0)} s`);
  assert.equal(answer.status, 0, JSON.stringify(answer.error));
  const { backups, accident, drill, kept } = answer.result as unknown as Demo;
  assert.deepEqual(
    backups.map(({ kind }) => kind),
    ['full', 'incremental'],
  );
  assert.ok(backups[1]!.stored < backups[0]!.stored / 3);
  const lost = accident.deleted.conversations + accident.deleted.messages;
  assert.ok(accident.deleted.conversations >= 100 && accident.deleted.messages > 1000);
  assert.equal(accident.found.deleted, lost);
  assert.equal(accident.rescued, lost);
  assert.ok(accident.later > 10, `${accident.later} messages were written meanwhile`);
  assert.equal(accident.same, true);
  assert.equal(drill.verdict, 'proven');
  assert.equal(kept, undefined);
  assert.deepEqual(await readdir(join(here.cwd, 'tmp')), []);
});

test('helvino demo, stopped while the tables are filled – it ends at once, and nothing is left behind', async () => {
  await using here = await place();
  const stop = new AbortController();
  let stopped = 0;
  const onErrors = (said: string) => {
    if (stopped > 0 || !/filling the tables/.test(said)) return;
    stopped = performance.now();
    stop.abort();
  };
  const outcome = await helvino(['demo'], { ...here, signal: stop.signal, onErrors });
  assert.equal(outcome.status, 130, outcome.stderr);
  const seconds = (performance.now() - stopped) / 1000;
  assert.ok(seconds < 4, `${seconds.toFixed(1)} s`);
  assert.deepEqual(await readdir(join(here.cwd, 'tmp')), []);
});
