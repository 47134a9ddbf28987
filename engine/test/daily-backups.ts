/** A repository in memory with a backup a day, for retention; and runs of backups that fail. No PostgreSQL. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { ErrorCode } from '../src/base/error-codes.ts';
import { HelvinoError } from '../src/base/errors.ts';
import { silentProgress } from '../src/base/progress.ts';
import { parseConfigText } from '../src/config/index.ts';
import { applyRetention } from '../src/operations/retention/apply.ts';
import {
  planRetentionOf,
  type RetentionPlan,
  type RetentionSettings,
} from '../src/operations/retention/plan.ts';
import { type RunOptions, recordRun } from '../src/operations/runs/record-run.ts';
import { logPieceName, putLogPiece, putRunNote, thisProcess } from '../src/repository/index.ts';
import { hasCode } from '../src/storage/testing/contract-tools.ts';
import { physicalFactsWith } from './physical-facts.ts';
import { type MemoryRepository, memoryRepository } from './repository-fixture.ts';

type RunKind = RunOptions['kind'];
export const segment = 1 << 20;
export const dayMs = 86_400_000;

export function settings(retention: string): RetentionSettings {
  const text = `version: 1
repositories:
  main:
    storage: { type: fs, path: . }
    recipients: [age1aaaa]
    catalogKey: { file: key }
databases:
  db:
    connection: { url: postgresql://localhost/postgres }
    repository: main
    health: { minSize: 1 }
    retention: ${retention}
`;
  return parseConfigText(text, 'test').databases.db!;
}

const keepTwo = settings('{ keep: { last: 2 }, minimum: 2, pitr: 3d }');

/** A repository with a backup a day, each with a pack of its own, a shared one, and WAL since the one before. */
export class Daily {
  readonly memory: MemoryRepository;
  readonly ids: string[] = [];
  #number = 0;

  private constructor(memory: MemoryRepository) {
    this.memory = memory;
  }

  static async of(days: number): Promise<Daily> {
    const daily = new Daily(await memoryRepository());
    await daily.memory.pack('f');
    for (let i = 0; i < days; i++) {
      if (i > 0) daily.memory.clock.advance(dayMs);
      await daily.add();
    }
    return daily;
  }

  async add(overrides: Record<string, unknown> = {}): Promise<string> {
    const { memory } = this;
    const n = this.#number++;
    const end = BigInt(n + 1) * BigInt(segment);
    const { driver, repository } = memory;
    await putLogPiece(
      driver,
      logPieceName('db', { line: 1, begin: end - BigInt(segment), end }),
      Buffer.alloc(segment),
      { ring: repository.ring, dataKey: Buffer.alloc(32, 7), dataKeyId: '0'.repeat(16) },
    );
    const id = `${memory.clock
      .now()
      .toISOString()
      .replace(/[-:]|\.\d+/g, '')}-${String(n).padStart(8, '0')}`;
    const pack = await memory.pack(n.toString(36));
    await memory.commit(id, [pack, 'f'.repeat(32)], {
      finished: memory.clock.now().toISOString(),
      totals: { files: 1, bytes: 1000, received: 0, fresh: 0, stored: 6, referenced: 12 },
      facts: facts(n),
      ...overrides,
    });
    this.ids.push(id);
    return id;
  }

  prove(index: number, verdict = 'proven'): Promise<void> {
    return this.memory.repository.putProof(this.ids[index]!, `drill-${index}-${verdict.replace(' ', '-')}`, {
      verdict,
    });
  }

  plan(with_: RetentionSettings = keepTwo): Promise<RetentionPlan> {
    return planRetentionOf(this.memory.repository, 'db', with_);
  }

  apply(planId: string, with_: RetentionSettings = keepTwo) {
    return applyRetention({
      repository: this.memory.repository,
      database: 'db',
      settings: with_,
      planId,
      others: [],
      graceMs: 0,
      progress: silentProgress,
      signal: new AbortController().signal,
    });
  }

  async left(): Promise<number[]> {
    const names = await this.memory.repository.backups('db');
    return names.map(({ id }) => this.ids.indexOf(id));
  }

  /** Which segments are stored, by number from 0 on. */
  async log(): Promise<number[]> {
    const names = await this.memory.names('wal/db/00000001/');
    return names.map((name) =>
      Number(BigInt(`0x${name.split('/').at(-1)!.split('-')[0]}`) / BigInt(segment)),
    );
  }
}

/** The WAL of backup `n` ends in segment `n`. */
function facts(n: number): Record<string, unknown> {
  const lsn = `0/${(n * segment + 4096).toString(16).toUpperCase()}`;
  return physicalFactsWith({ startLsn: lsn, stopLsn: lsn, walEnd: lsn, walSegmentSize: segment });
}

export function removes(plan: RetentionPlan, daily: Daily): number[] {
  return plan.kinds.flatMap(({ decisions }) =>
    decisions.filter(({ action }) => action === 'remove').map(({ id }) => daily.ids.indexOf(id)),
  );
}

/** A run a minute after the newest backup, which fails; a minute later. */
export async function failRun(
  daily: Daily,
  code: ErrorCode = 'STORAGE_FULL',
  kind: RunKind = 'physical',
): Promise<void> {
  const { repository, clock } = daily.memory;
  clock.advance(60_000);
  const run = { repository, database: 'db', kind, program: 'test', clock, progress: silentProgress };
  const failure = recordRun(run, () => Promise.reject(new HelvinoError(code, 'the disk is full')));
  await assert.rejects(failure, hasCode(code));
  clock.advance(60_000);
}

/** As a run that was killed leaves it: noted by a process that is gone. */
export async function cutRun(daily: Daily): Promise<void> {
  const { repository, clock } = daily.memory;
  clock.advance(60_000);
  const gone = spawn('true');
  await once(gone, 'exit');
  const note = {
    at: clock.now().toISOString(),
    program: 'test',
    holder: { ...thisProcess(), pid: gone.pid },
  };
  await putRunNote(
    repository,
    { database: 'db', run: '20260109T000000Z-00000000-physical', what: 'begun' },
    note,
  );
  clock.advance(60_000);
}
