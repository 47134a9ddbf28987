/**
 * A server under load, its WAL streamed by the real command line, and everything killed at random: server, streamer and
 * store. What comes of it is a repository, and a log of what was committed when, against which any recovery can be held.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import { systemClock } from '../src/base/clock.ts';
import { silentProgress } from '../src/base/progress.ts';
import { backupFacts } from '../src/catalog/index.ts';
import { findRecovery } from '../src/operations/restore/find-recovery.ts';
import { restore } from '../src/operations/restore/restore.ts';
import { parseTarget } from '../src/operations/restore/target-words.ts';
import { walStatus } from '../src/operations/wal/status.ts';
import { formatLsn, parseLsn } from '../src/postgres/index.ts';
import { type Identities, type Manifest, openIdentities, openRepository } from '../src/repository/index.ts';
import { openFsDriver } from '../src/storage/index.ts';
import { query, startRestored, withClient } from './backup-fixture.ts';
import { helvinoJson } from './cli.ts';
import { type Entry, LedgerLoad, makeLedgerTables, readState, type State } from './ledger-load.ts';
import { startTestServer, type TestMajor, type TestServer, testServerUser } from './pg-server.ts';
import { randomFrom } from './random-load.ts';

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url));
const database = 'main';

export class RecoveryLab implements AsyncDisposable {
  readonly home: string;
  readonly server: TestServer;
  readonly load: LedgerLoad;
  /** What happened, for messages. */
  readonly story: string[] = [];
  /** The farthest position that the streamer has confirmed to the server as durable. */
  confirmed = 0n;
  readonly #begun = Date.now();
  readonly #random: () => number;
  #streamer: ChildProcess | undefined;
  #streaming = true;
  #supervisor: Promise<void> | undefined;
  #watcher: Promise<void> | undefined;
  #restores = 0;

  private constructor(o: { home: string; server: TestServer; load: LedgerLoad; random: () => number }) {
    this.home = o.home;
    this.server = o.server;
    this.load = o.load;
    this.#random = o.random;
  }

  /** A server with the tables and the load, a repository by `helvino init`, a running `helvino wal stream`. */
  static async open({
    major,
    seed,
    every = '200ms',
  }: {
    major: TestMajor;
    seed: number;
    every?: string;
  }): Promise<RecoveryLab> {
    const home = await mkdtemp(join(tmpdir(), 'hv-recovery-'));
    const user = await testServerUser();
    if (user) await chown(home, user.uid, user.gid);
    const server = await startTestServer({
      major,
      initdbArgs: ['--wal-segsize=1'],
      config: {
        max_prepared_transactions: 20,
        track_commit_timestamp: 'on',
        max_wal_size: '32MB',
        min_wal_size: '4MB',
      },
    });
    try {
      await withClient(server, makeLedgerTables);
      const init = await helvinoJson(['init', '--url', server.url, '--path', 'repository'], { cwd: home });
      if (!init.ok) throw new Error(JSON.stringify(init));
      const load = new LedgerLoad(server, { seed, connections: 4 });
      const lab = new RecoveryLab({ home, server, load, random: randomFrom(seed + 1) });
      lab.#supervisor = lab.#supervise(every);
      lab.#watcher = lab.#watch();
      return lab;
    } catch (thrown) {
      await server[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  get root(): string {
    return join(this.home, 'repository');
  }

  tell(what: string): void {
    this.story.push(`${((Date.now() - this.#begun) / 1000).toFixed(1)} s: ${what}`);
  }

  /** Starts the streamer again whenever it ends, as a service manager does. */
  async #supervise(every: string): Promise<void> {
    while (this.#streaming) {
      const child = spawn(
        process.execPath,
        [
          '--disable-warning=ExperimentalWarning',
          main,
          'wal',
          'stream',
          '--every',
          every,
          '--json',
          '--quiet',
        ],
        { cwd: this.home, stdio: ['ignore', 'pipe', 'pipe'] },
      );
      this.#streamer = child;
      let output = '';
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (chunk: Buffer) => (output += chunk));
      const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
      if (this.#streaming) this.tell(`the streamer ended (${signal ?? code}) ${output.trim()}`);
      await sleep(200);
    }
  }

  async #watch(): Promise<void> {
    const sql = `select coalesce(r.flush_lsn, '0/0')::text as lsn from pg_stat_replication r join pg_replication_slots s on s.active_pid = r.pid`;
    while (this.#streaming) {
      const { rows } = await query<{ lsn: string }>(this.server, sql).catch(() => ({ rows: [] }));
      for (const row of rows) if (parseLsn(row.lsn) > this.confirmed) this.confirmed = parseLsn(row.lsn);
      await sleep(50);
    }
  }

  async backup(): Promise<void> {
    for (let tries = 0; tries < 10; tries++) {
      const answer = await helvinoJson(['backup', '--fingerprint', 'off'], { cwd: this.home });
      this.tell(
        answer.ok
          ? `backup ${String(answer.result?.id ?? '')}`
          : `no backup: ${answer.error?.code} ${answer.error?.message}`,
      );
      if (answer.ok) return;
      await sleep(500);
    }
    throw new Error(`no backup could be taken: ${this.story.join('\n')}`);
  }

  async killServer(): Promise<void> {
    await this.server.stop('kill');
    this.tell('the server was killed');
    await sleep(this.#random() * 500);
    await this.server.start();
  }

  /** `kill -9`; it is started again by itself. */
  killStreamer(): void {
    this.#streamer?.kill('SIGKILL');
    this.tell('the streamer was killed');
  }

  /** The repository's folder is gone for a while. */
  async takeStoreAway(): Promise<void> {
    await rename(this.root, `${this.root}.away`);
    this.tell('the store is away');
    await sleep(300 + this.#random() * 1500);
    await rename(`${this.root}.away`, this.root);
    this.tell('the store is back');
  }

  /** One of the three, by chance. */
  async strike(): Promise<void> {
    const which = Math.floor(this.#random() * 3);
    if (which === 0) await this.killServer();
    else if (which === 1) this.killStreamer();
    else await this.takeStoreAway();
  }

  /** Everything is killed where it stands; what the server had is read from it once more, then its disk is lost. */
  async loseAll(): Promise<Truth> {
    this.#streaming = false;
    this.#streamer?.kill('SIGKILL');
    await this.server.stop('kill');
    await Promise.all([this.load.stop(), this.#supervisor, this.#watcher]);
    this.tell(`all was killed; confirmed was ${formatLsn(this.confirmed)}`);
    await this.server.start();
    const truth = await withClient(this.server, async (client) => {
      const state = await readState(client);
      return { state, times: await commitTimes(client, this.load.entries) };
    });
    await this.server.stop('kill');
    await rm(this.server.dataDir, { recursive: true, force: true });
    const { repository } = await this.opened();
    const manifests: Manifest[] = [];
    for (const { id } of await repository.backups(database))
      manifests.push(await repository.manifest(database, id));
    return { ...truth, manifests, confirmed: this.confirmed };
  }

  async opened() {
    const identities: Identities = await openIdentities(
      await readFile(join(this.home, 'helvino-recovery-identity.txt'), 'utf8'),
      'the test',
    );
    const repository = await openRepository(await openFsDriver({ root: this.root }), { identities });
    return { repository, identities };
  }

  /** What WAL there is, for messages. */
  async stored(): Promise<string[]> {
    const { repository } = await this.opened();
    const { ranges, windows } = await walStatus(repository, database);
    return [...ranges, ...windows].map((one) => JSON.stringify(one));
  }

  /** Restores to a target, starts a server on it, reads it, and removes it. */
  async stateAt(words: string): Promise<State & { readonly backup: string }> {
    const { repository, identities } = await this.opened();
    const signal = new AbortController().signal;
    const target = parseTarget(words, new Date());
    if (target.kind === 'backup') throw new Error('that is no target');
    const recovery = await findRecovery({ repository, identities, database, target, signal });
    const { manifest } = recovery.target;
    const directory = join(this.home, `restored-${++this.#restores}`);
    try {
      await restore({
        repository,
        identities,
        manifest,
        recovery,
        directory,
        delta: false,
        tablespaces: new Map(),
        newTimeline: true,
        clock: systemClock,
        progress: silentProgress,
        signal,
      });
      await using restored = await startRestored(directory, this.server.major);
      return { ...(await withClient(restored, readState)), backup: manifest.id };
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#streaming = false;
    this.#streamer?.kill('SIGKILL');
    await this.server[Symbol.asyncDispose]();
    await Promise.allSettled([this.load.stop(), this.#supervisor, this.#watcher]);
    await rm(this.home, { recursive: true, force: true });
  }
}

export interface Truth {
  /** The server's own tables at its end. */
  readonly state: State;
  /** Microseconds since 1970 by transaction id, as the commit records say. */
  readonly times: ReadonlyMap<string, bigint>;
  /** All backups, oldest first. */
  readonly manifests: readonly Manifest[];
  readonly confirmed: bigint;
}

async function commitTimes(client: pg.Client, entries: readonly Entry[]): Promise<Map<string, bigint>> {
  const { rows } = await client.query<{ xid: string; time: string }>(
    `select x as xid, (extract(epoch from pg_xact_commit_timestamp(x::xid)) * 1000000)::bigint::text as time
     from unnest($1::text[]) x where pg_xact_commit_timestamp(x::xid) is not null`,
    [entries.map((entry) => entry.xid)],
  );
  return new Map(rows.map(({ xid, time }) => [xid, BigInt(time)]));
}

/** A target with what must be there after it, and what must not. */
export interface Expectation {
  readonly words: string;
  readonly must: (entry: Committed) => boolean;
  readonly mustNot: (entry: Committed) => boolean;
}

export interface Committed {
  readonly id: number;
  readonly xid: string;
  readonly before: bigint;
  readonly after: bigint;
  /** Microseconds since 1970. */
  readonly time: bigint;
}

/** What was committed for good, with all that is known of it. */
export function committed(lab: RecoveryLab, { state, times }: Truth): Committed[] {
  return lab.load.entries.flatMap(({ id, xid, before, after }) => {
    const time = times.get(xid);
    if (!state.rows.has(`${id}:0`) || time === undefined) return [];
    return [{ id, xid, before, after: after ?? before + (1n << 40n), time }];
  });
}

/** `count` targets of all kinds, all of which can be reached. */
export function randomTargets(
  lab: RecoveryLab,
  truth: Truth,
  { seed, count }: { seed: number; count: number },
): Expectation[] {
  const random = randomFrom(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
  const first = truth.manifests[0]!;
  const from = parseLsn(backupFacts(first).walEnd);
  const finished = BigInt(new Date(backupFacts(first).ended!).getTime()) * 1000n;
  const all = committed(lab, truth);
  const reachable = all.filter((e) => e.before >= from && e.after <= truth.confirmed);
  const late = reachable.filter((e) => e.time > finished);
  const points = lab.load.points.filter((p) => p.before >= from && p.after <= truth.confirmed);
  const somewhere = () => from + BigInt(Math.floor(random() * Number(truth.confirmed - from)));
  const make: (() => Expectation)[] = [
    () => lsnTarget(somewhere()),
    () => lsnTarget(somewhere() & ~8191n || from),
    () => lsnTarget(pick(reachable).after),
    () => timeTarget(all, finished + BigInt(Math.floor(random() * Number(pick(late).time - finished)))),
    () => timeTarget(all, pick(late).time),
    () => timeTarget(all, pick(late).time - 1n),
    () => xidTarget(pick(reachable), false),
    () => xidTarget(pick(reachable), true),
    () => {
      const { name, before, after } = pick(points);
      return { words: `name:${name}`, must: (e) => e.after <= before, mustNot: (e) => e.before >= after };
    },
  ];
  const found: Expectation[] = [];
  for (let i = 0; found.length < count; i++) {
    const target = make[i % make.length]!();
    // A page boundary before the first backup's end cannot be reached.
    if (/^[0-9A-F]+\//.test(target.words) && parseLsn(target.words) < from) continue;
    found.push(target);
  }
  return found;
}

function lsnTarget(lsn: bigint): Expectation {
  return { words: formatLsn(lsn), must: (e) => e.after <= lsn, mustNot: (e) => e.before >= lsn };
}

/** Recovery ends before the first commit, in the order of WAL, that is later. */
function timeTarget(all: readonly Committed[], time: bigint): Expectation {
  let stop = 1n << 62n;
  for (const e of all) if (e.time > time && e.before < stop) stop = e.before;
  const iso = new Date(Number(time / 1000n)).toISOString();
  const words = `${iso.slice(0, 23)}${String(time % 1000n).padStart(3, '0')}Z`;
  return { words, must: (e) => e.time <= time && e.after <= stop, mustNot: (e) => e.time > time };
}

function xidTarget(target: Committed, before: boolean): Expectation {
  return {
    words: `${before ? 'before:' : ''}xid:${target.xid}`,
    must: (e) => (e.id === target.id ? !before : e.after <= target.before),
    mustNot: (e) => (e.id === target.id ? before : e.before >= target.after),
  };
}

/** What is wrong with a recovered state; nothing, if all is right. */
export function judge(
  state: State,
  truth: Truth,
  all: readonly Committed[],
  expected: Expectation,
): string[] {
  const wrong = [...state.broken];
  for (const row of state.rows) if (!truth.state.rows.has(row)) wrong.push(`row ${row} was never committed`);
  for (const entry of all) {
    const there = state.rows.has(`${entry.id}:0`);
    if (!there && expected.must(entry)) wrong.push(`${describe(entry)} is missing`);
    if (there && expected.mustNot(entry)) wrong.push(`${describe(entry)} is there`);
    const part = `${entry.id}:1`;
    if (there && truth.state.rows.has(part) !== state.rows.has(part))
      wrong.push(`subtransaction ${part} is not whole`);
  }
  return wrong;
}

function describe({ id, xid, before, after, time }: Committed): string {
  return `transaction ${id} (xid ${xid}, ${formatLsn(before)} to ${formatLsn(after)}, ${time})`;
}
