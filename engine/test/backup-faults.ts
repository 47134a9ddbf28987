/** What tests need in which something happens in the middle of a backup. */
import assert from 'node:assert/strict';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ErrorCode } from '../src/base/error-codes.ts';
import { HelvinoError } from '../src/base/errors.ts';
import { type Progress, silentProgress } from '../src/base/progress.ts';
import { query } from './backup-fixture.ts';
import type { TestServer } from './pg-server.ts';

/** 16 MB. */
export const bigTable = (name: string) =>
  `create table ${name} as select i, md5(i::text) as t, repeat('x', 200) as pad from generate_series(1, 60000) i`;

/** Of big tables `dropped`, `truncated`, `shrunk` and `grown`, beside `big`: what happens to them. */
export const tableChanges = [
  'drop table dropped',
  'truncate truncated',
  'delete from shrunk where i > 100',
  'vacuum (truncate) shrunk',
  'insert into grown select * from big',
  'create table made_meanwhile as select * from grown limit 1000',
  'checkpoint',
];

interface Once {
  readonly progress: Progress;
  /** Resolves when it is done; fails when it was never begun. */
  done(): Promise<unknown>;
}

/** A progress display that does something once, when so many bytes have come in phases that `counts`. */
export function onceAfter(
  bytes: number,
  counts: (phase: string) => boolean,
  action: () => Promise<unknown>,
): Once {
  let [counting, come] = [false, 0];
  let acting: Promise<unknown> | undefined;
  const progress: Progress = {
    ...silentProgress,
    phase: (name) => {
      counting = counts(name);
    },
    advance: (count) => {
      come += counting ? count : 0;
      if (come >= bytes) acting ??= action();
    },
  };
  return {
    progress,
    done: () => {
      assert.ok(acting, `fewer than ${bytes} bytes came`);
      return acting;
    },
  };
}

/** When the server has sent so many bytes of its files. */
export const onceReceived = (bytes: number, action: () => Promise<unknown>) =>
  onceAfter(bytes, (phase) => phase.startsWith('receiving') && !phase.includes('WAL'), action);

/** When so many bytes of the server's files have been read. */
export const onceRead = (bytes: number, action: () => Promise<unknown>) =>
  onceAfter(bytes, (phase) => phase === "reading the server's files", action);

/** Of a server with `summarize_wal`: its WAL goes on, and the summaries so far are gone. */
export async function loseSummaries(server: TestServer): Promise<void> {
  await query(
    server,
    'checkpoint',
    'select pg_switch_wal()',
    'create table more_wal as select 1 as i',
    'checkpoint',
  );
  const summaries = join(server.dataDir, 'pg_wal/summaries');
  for (let i = 0; i < 100 && (await readdir(summaries)).length < 2; i++) await sleep(50);
  await sleep(200);
  for (const name of await readdir(summaries)) await rm(join(summaries, name));
}

export async function fails(work: Promise<unknown>, code: ErrorCode, exit?: number): Promise<HelvinoError> {
  const thrown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  assert.ok(thrown instanceof HelvinoError, `expected ${code}, got ${String(thrown)}`);
  assert.equal(thrown.code, code, `${thrown.message} ${JSON.stringify(thrown.context)}`);
  if (exit !== undefined) assert.equal(thrown.exit, exit);
  return thrown;
}
