/** A WAL stream beside a test: started, waited for, ended. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Clock, systemClock } from '../src/base/clock.ts';
import { findRecovery } from '../src/operations/restore/find-recovery.ts';
import { type StreamOptions, streamWal } from '../src/operations/wal/stream.ts';
import { formatLsn, parseLsn, resolveConnection } from '../src/postgres/index.ts';
import { type Fixture, query, startRestored } from './backup-fixture.ts';
import type { TestMajor, TestServer } from './pg-server.ts';

export interface TestStream extends AsyncDisposable {
  /** What it has said, oldest first: `warn: …`. */
  readonly notes: readonly string[];
  /** What `--every` would be told; all before it is stored. */
  readonly durable: bigint;
  /** Settles with the stream. */
  readonly done: Promise<void>;
  /** Waits until all before this position is stored. */
  upTo(lsn: string): Promise<void>;
  /** The same for all that the server has now. */
  upToNow(source?: { readonly url: string }): Promise<void>;
  end(): Promise<void>;
}

/** Of the database `main`, on the slot `helvino`, every 50 ms. */
export async function startWalStream(
  fixture: Fixture,
  server: { readonly url: string },
  overrides: Partial<StreamOptions> = {},
): Promise<TestStream> {
  const stop = new AbortController();
  const notes: string[] = [];
  let durable = 0n;
  const done = streamWal({
    repository: fixture.repository,
    recipients: [fixture.recipient],
    database: 'main',
    connection: await resolveConnection({ url: server.url }, {}),
    slot: 'helvino',
    intervalMs: 50,
    clock: systemClock,
    progress: {
      phase() {},
      advance() {},
      total() {},
      note: (level, message) => void notes.push(`${level}: ${message}`),
    },
    signal: AbortSignal.any([stop.signal, fixture.ended]),
    onStored: (state) => {
      durable = state.durable;
    },
    ...overrides,
  });
  let failure: unknown;
  done.catch((thrown: unknown) => {
    failure = thrown;
  });
  const upTo = async (lsn: string) => {
    for (let i = 0; i < 1200 && durable < parseLsn(lsn) && failure === undefined; i++) await sleep(50);
    if (failure !== undefined) throw failure;
    assert.ok(durable >= parseLsn(lsn), `${formatLsn(durable)} is stored, not ${lsn}; ${notes.join('; ')}`);
  };
  const end = async () => {
    stop.abort();
    await done;
  };
  return {
    notes,
    get durable() {
      return durable;
    },
    done,
    upTo,
    async upToNow(source = server) {
      const sql = 'select pg_current_wal_flush_lsn()::text as lsn';
      await upTo((await query<{ lsn: string }>(source, sql)).rows[0]!.lsn);
    },
    end,
    [Symbol.asyncDispose]: end,
  };
}

/** A server restored to the latest moment that is stored. */
export async function serverAtLatest(
  fixture: Fixture,
  major: TestMajor,
  config: Readonly<Record<string, string>> = {},
): Promise<TestServer> {
  const { repository, identities } = fixture;
  const recovery = await findRecovery({
    repository,
    identities,
    database: 'main',
    target: { kind: 'latest' },
    signal: new AbortController().signal,
  });
  const { directory } = await fixture.restoreTo(recovery.target.manifest, { recovery });
  return startRestored(directory, major, config);
}

/** How many rows the table `log` has there. */
export async function rowsAtLatest(fixture: Fixture, major: TestMajor): Promise<number> {
  await using server = await serverAtLatest(fixture, major);
  return (await query<{ n: number }>(server, 'select count(*)::int as n from log')).rows[0]!.n;
}

/** The real clock, but nobody sleeps for longer than a tenth of a second: pauses before another attempt cost a test nothing. */
export const hastyClock: Clock = {
  ...systemClock,
  sleep: (milliseconds, signal) => systemClock.sleep(Math.min(milliseconds, 100), signal),
};

/** Does something just before a stream begins to read, as often as told; `onPhase` is for its progress. */
export function beforeReading(
  fixture: Fixture,
  times: number,
  work: (left: number) => Promise<void> | void,
): { onPhase(): void } {
  const { driver } = fixture.repository;
  const list = driver.list.bind(driver);
  let [left, armed] = [times, false];
  driver.list = async function* (prefix) {
    if (armed && left > 0) {
      armed = false;
      left--;
      await work(left);
    }
    yield* list(prefix);
  };
  return {
    onPhase: () => {
      armed = true;
    },
  };
}
