/**
 * A load like that of an application, with a log of its own: several connections change the guide's tables and a table of
 * accounts, and write into a ledger what they did: plain commits, rollbacks, subtransactions kept and rolled back, prepared
 * transactions, commits that do not wait. The log says between which positions of WAL each was committed; it is held
 * here, outside the server, and survives whatever is done to the server, which may die at any moment.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg, { type Client } from 'pg';
import { createDemoTables, loadDemoRows } from '../src/operations/demo/demo-data.ts';
import { parseLsn } from '../src/postgres/index.ts';
import type { TestServer } from './pg-server.ts';
import { randomFrom } from './random-load.ts';

const accounts = 200;
const demoRows = { organizations: 20, conversations: 400, messages: 3000 };

export async function makeLedgerTables(client: Client): Promise<void> {
  await createDemoTables(client);
  await loadDemoRows(client, demoRows);
  await client.query(`
    create table accounts (id int primary key, balance bigint not null) with (fillfactor = 70);
    insert into accounts select i, 0 from generate_series(1, ${accounts}) i;
    create table ledger (id int, part int, delta int not null, messages int not null, primary key (id, part));
    create table heartbeats (n int primary key)`);
}

/** One transaction, as the client knows it. */
export interface Entry {
  readonly id: number;
  readonly xid: string;
  /** The end of WAL before the commit was asked for: the commit record is at or after it. */
  before: bigint;
  /** The end of WAL after the commit was answered; undefined when the connection broke before the answer. */
  after: bigint | undefined;
}

export interface Point {
  readonly name: string;
  readonly before: bigint;
  readonly after: bigint;
}

export interface Heartbeat {
  readonly n: number;
  /** Milliseconds since 1970, before the commit was asked for. */
  readonly at: number;
  readonly after: bigint;
}

type Step =
  | 'plain'
  | 'rollback'
  | 'kept subtransaction'
  | 'lost subtransaction'
  | 'prepared'
  | 'asynchronous';
const steps: readonly Step[] = [
  'plain',
  'plain',
  'rollback',
  'kept subtransaction',
  'lost subtransaction',
  'prepared',
  'asynchronous',
];

export class LedgerLoad {
  /** What was committed, or may have been. */
  readonly entries: Entry[] = [];
  readonly points: Point[] = [];
  readonly heartbeats: Heartbeat[] = [];
  readonly #server: TestServer;
  readonly #random: () => number;
  readonly #work: Promise<void>[];
  readonly #failures: unknown[] = [];
  #stopping = false;
  #ids = 0;

  constructor(server: TestServer, { seed, connections }: { seed: number; connections: number }) {
    this.#server = server;
    this.#random = randomFrom(seed);
    const workers = Array.from({ length: connections }, () =>
      this.#forever((client, open) => this.#transaction(client, open)),
    );
    this.#work = [
      ...workers,
      this.#forever((client) => this.#mark(client)),
      this.#forever((client) => this.#beat(client)),
    ];
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#work);
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  /** A connection that is made again when it breaks; what was open then is looked up. */
  async #forever(step: (client: Client, open: Entry[]) => Promise<void>): Promise<void> {
    const open: Entry[] = [];
    while (!this.#stopping) {
      const client = new pg.Client({ connectionString: this.#server.url });
      client.on('error', () => undefined);
      try {
        await client.connect();
        await this.#settle(client, open);
        while (!this.#stopping) {
          await step(client, open);
          await sleep(this.#random() * 12);
        }
      } catch (thrown) {
        if (!isBroken(thrown)) this.#failures.push(thrown);
        await sleep(100);
      } finally {
        await client.end().catch(() => undefined);
      }
    }
  }

  /** Prepared transactions outlive a crash: they are committed now. Of all others only the server knows; not later than now. */
  async #settle(client: Client, open: Entry[]): Promise<void> {
    const { rows } = await client.query<{ gid: string }>('select gid from pg_prepared_xacts');
    const gids = new Set(rows.map((row) => row.gid));
    for (const entry of open) {
      const gid = `load-${entry.id}`;
      if (gids.has(gid)) await client.query(`commit prepared '${gid}'`).catch(() => undefined);
      entry.after = await endOfWal(client);
    }
    open.length = 0;
  }

  async #transaction(client: Client, open: Entry[]): Promise<void> {
    const id = ++this.#ids;
    const step = steps[Math.floor(this.#random() * steps.length)]!;
    try {
      await client.query('begin');
      if (step === 'asynchronous') await client.query('set local synchronous_commit = off');
      await this.#change(client, id, 0);
      if (step.endsWith('subtransaction')) {
        await client.query('savepoint s');
        await this.#change(client, id, 1);
        await client.query(step.startsWith('kept') ? 'release s' : 'rollback to s');
      }
      if (step === 'rollback') return void (await client.query('rollback'));
      const xid = await one(client, 'select pg_current_xact_id()::text as value');
      const gid = `load-${id}`;
      const entry: Entry = { id, xid, before: await endOfWal(client), after: undefined };
      this.entries.push(entry);
      open.push(entry);
      if (step === 'prepared') {
        await client.query(`prepare transaction '${gid}'`);
        entry.before = await endOfWal(client);
      }
      await client.query(step === 'prepared' ? `commit prepared '${gid}'` : 'commit');
      entry.after = await endOfWal(client);
      open.length = 0;
    } catch (thrown) {
      // deadlock_detected: another won.
      if ((thrown as { code?: string }).code !== '40P01') throw thrown;
      await client.query('rollback');
    }
  }

  async #change(client: Client, id: number, part: number): Promise<void> {
    const delta = Math.floor(this.#random() * 2000) - 1000;
    const messages = Math.floor(this.#random() * 4);
    const account = 1 + Math.floor(this.#random() * accounts);
    const conversation = 1 + Math.floor(this.#random() * demoRows.conversations);
    await client.query(`update accounts set balance = balance + ${delta} where id = ${account};
      insert into messages (conversation_id, body, meta, created_at)
        select md5('conversation ${conversation}')::uuid, repeat(md5('${id}'), 1 + i * 20), '{"by": "load"}', now() from generate_series(1, ${messages}) i;
      insert into ledger values (${id}, ${part}, ${delta}, ${messages})`);
  }

  async #mark(client: Client): Promise<void> {
    const before = await endOfWal(client);
    const name = `point ${this.points.length + 1} of ${before}`;
    await client.query('select pg_create_restore_point($1)', [name]);
    this.points.push({ name, before, after: await endOfWal(client) });
    await sleep(300);
  }

  async #beat(client: Client): Promise<void> {
    const n = (this.heartbeats.at(-1)?.n ?? 0) + 1;
    const at = Date.now();
    await client.query('insert into heartbeats values ($1) on conflict do nothing', [n]);
    this.heartbeats.push({ n, at, after: await endOfWal(client) });
    await sleep(100);
  }
}

function isBroken(thrown: unknown): boolean {
  const { code = '', message = '' } = thrown as { code?: string; message?: string };
  return (
    /^(57P0|08|ECONN|EPIPE)/.test(code) ||
    /Connection terminated|not queryable|Client has encountered|timeout/.test(message)
  );
}

async function one(client: Client, sql: string): Promise<string> {
  return (await client.query<{ value: string }>(sql)).rows[0]!.value;
}

async function endOfWal(client: Client): Promise<bigint> {
  return parseLsn(await one(client, 'select pg_current_wal_insert_lsn()::text as value'));
}

/** What the tables say, each row of the ledger as `id:part`. */
export interface State {
  readonly rows: ReadonlySet<string>;
  readonly newestHeartbeat: number;
  /** What does not fit together: nothing, if transactions are whole. */
  readonly broken: readonly string[];
}

export async function readState(client: Client): Promise<State> {
  const { rows } = await client.query<{
    ledger: string[] | null;
    delta: string;
    balance: string;
    written: string;
    messages: string;
    beat: number;
  }>(`select (select array_agg(id || ':' || part) from ledger) as ledger,
      (select coalesce(sum(delta), 0) from ledger)::text as delta, (select sum(balance) from accounts)::text as balance,
      (select coalesce(sum(messages), 0) from ledger)::text as written,
      (select count(*) from messages where meta ? 'by')::text as messages,
      (select coalesce(max(n), 0) from heartbeats) as beat`);
  const { ledger, delta, balance, written, messages, beat } = rows[0]!;
  const broken = [
    ...(delta === balance ? [] : [`the balances are ${balance}, the ledger says ${delta}`]),
    ...(written === messages ? [] : [`there are ${messages} messages, the ledger says ${written}`]),
  ];
  return { rows: new Set(ledger ?? []), newestHeartbeat: beat, broken };
}
