/**
 * The second act of the demo, the guide's second disaster: while others work, someone deletes all conversations of one
 * organization. `find` names the transaction, `rescue` brings its rows back, and what others wrote meanwhile stays.
 */
import { join } from 'node:path';
import type { Client } from 'pg';
import type { Clock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import { type ConnectionParams, connectSql, formatLsn, resolveConnection } from '../../postgres/index.ts';
import type { Identities, Repository } from '../../repository/index.ts';
import { type FoundTransaction, findTransactions } from '../find/find.ts';
import { type ApplyResult, applyRescue, planRescue } from '../rescue/index.ts';
import { findRecovery } from '../restore/find-recovery.ts';
import { openServer } from '../throw-away/server.ts';
import { streamWal } from '../wal/stream.ts';
import { type DemoLoad, startLoad } from './demo-load.ts';
import { withDemoClient } from './with-demo-client.ts';

export interface AccidentOptions {
  readonly repository: Repository;
  readonly identities: Identities;
  readonly recipient: string;
  readonly connection: ConnectionParams;
  /** A folder of the demo's own. */
  readonly folder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly program: string;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface DemoAccident {
  readonly organization: string;
  readonly deleted: { readonly conversations: number; readonly messages: number };
  /** What `find` says of it. */
  readonly found: {
    readonly xid: number;
    readonly time: string;
    readonly lsn: string;
    readonly deleted: number;
  };
  readonly rescued: number;
  /** Messages that were written after the accident, of all organizations; they are all still there. */
  readonly later: number;
  /** The organization's rows are what they were at the moment before. */
  readonly same: boolean;
  readonly seconds: { readonly plan: number; readonly apply: number };
}

/** The load goes on so long before and after the accident. */
const aroundMs = 1500;
const longestWaitMs = 60_000;

/** WAL is stored while `work` runs; it is given a promise of when all that is written by now is stored. */
export async function whileStreaming<Result>(
  options: Omit<AccidentOptions, 'identities' | 'folder' | 'env'>,
  work: (stored: () => Promise<void>) => Promise<Result>,
): Promise<Result> {
  const { clock, connection, signal } = options;
  const ended = new AbortController();
  let durable = 0n;
  const stream = streamWal({
    ...options,
    recipients: [options.recipient],
    database: 'demo',
    slot: 'helvino_demo',
    intervalMs: 250,
    signal: AbortSignal.any([signal, ended.signal]),
    onStored: (state) => (durable = state.durable),
  });
  stream.catch(() => undefined);
  const stored = async () => {
    const end = await withDemoClient(connection, signal, async (client) => {
      const { rows } = await client.query<{ end: string }>(
        `select (pg_current_wal_insert_lsn() - '0/0')::text as end`,
      );
      return BigInt(rows[0]!.end);
    });
    for (const begun = clock.monotonic(); durable < end; await clock.sleep(20, signal))
      if (clock.monotonic() - begun > longestWaitMs)
        throw new HelvinoError(
          'INTERNAL',
          `WAL is stored up to ${formatLsn(durable)} only, not ${formatLsn(end)}`,
        );
  };
  try {
    return await Promise.race([work(stored), stream.then(() => Promise.reject(signal.reason))]);
  } finally {
    ended.abort();
    await stream.catch(() => undefined);
  }
}

export async function playAccident(
  options: AccidentOptions,
  stored: () => Promise<void>,
): Promise<DemoAccident> {
  const { connection, clock, signal, progress } = options;
  progress.phase('the accident: under load, someone deletes the conversations of an organization');
  const load = await startLoad(connection);
  let lost: Lost;
  try {
    await clock.sleep(aroundMs, signal);
    lost = await withDemoClient(connection, signal, (client) => deleteConversations(client, load.begun));
    load.mark();
    await clock.sleep(aroundMs, signal);
  } finally {
    await load.stop();
  }
  await stored();
  const found = await theTransaction(options);
  const { rescued, seconds } = await rescue(options, found.xid);
  return {
    organization: lost.organization,
    deleted: { conversations: lost.conversations, messages: lost.messages },
    found: {
      xid: found.xid,
      time: new Date(found.time / 1000).toISOString(),
      lsn: formatLsn(found.lsn),
      deleted: found.changes.reduce((sum, change) => sum + change.deleted, 0),
    },
    rescued: rescued.tables.reduce((sum, { inserted }) => sum + inserted, 0),
    ...(await withDemoClient(connection, signal, (client) => outcome(client, { lost, load }))),
    seconds,
  };
}

interface Lost {
  readonly id: string;
  readonly organization: string;
  readonly conversations: number;
  readonly messages: number;
  /** Of all its conversations and messages, at the moment before. */
  readonly hash: string;
  /** The newest message then; those of later are not in the hash. */
  readonly newest: string;
}

const contentSql = `select md5(string_agg(r, '' order by r)) as hash from (
  select c::text as r from conversations c where organization_id = $1 and created_at < $3
  union all select m::text from messages m join conversations c on c.id = m.conversation_id where organization_id = $1 and m.id <= $2) x`;

/** In one transaction, as an application would; the moment before is seen in the same. */
async function deleteConversations(client: Client, begun: string): Promise<Lost> {
  await client.query('begin');
  // Nobody writes for the moment, so that what is seen is what is deleted.
  await client.query('lock table conversations, messages in share row exclusive mode');
  const { rows } = await client.query<{ id: string; name: string; newest: string }>(
    `select id, name, (select max(id) from messages)::text as newest from organizations where key = 'demo'`,
  );
  const { id, name, newest } = rows[0]!;
  const content = await client.query<{ hash: string }>(contentSql, [id, newest, begun]);
  const messages = await client.query(
    'delete from messages where conversation_id in (select id from conversations where organization_id = $1)',
    [id],
  );
  const conversations = await client.query('delete from conversations where organization_id = $1', [id]);
  await client.query('commit');
  return {
    id,
    organization: name,
    conversations: conversations.rowCount ?? 0,
    messages: messages.rowCount ?? 0,
    hash: content.rows[0]!.hash,
    newest,
  };
}

async function theTransaction(options: AccidentOptions): Promise<FoundTransaction> {
  const { transactions } = await findTransactions({
    ...options,
    database: 'demo',
    limit: 1,
    filter: { tables: ['conversations'], drops: false, truncates: false, deletesOver: 10, all: false },
  });
  const found = transactions.at(-1);
  if (found === undefined)
    throw new HelvinoError('INTERNAL', 'no transaction that deleted conversations is in the index of WAL');
  return found;
}

async function rescue(
  options: AccidentOptions,
  xid: number,
): Promise<{ rescued: ApplyResult; seconds: DemoAccident['seconds'] }> {
  const { clock, progress, connection, folder, signal } = options;
  const begun = clock.monotonic();
  const file = join(folder, 'rescue.plan');
  progress.phase(`rescue: a server as of just before transaction ${xid}`);
  const recovery = await findRecovery({
    ...options,
    database: 'demo',
    target: { kind: 'xid', xid, side: 'before' },
  });
  const before = {
    ...options,
    recovery,
    manifest: recovery.target.manifest,
    writable: true,
    parent: folder,
    binDirs: [],
    fetchServers: true,
    readyTimeoutMs: 120_000,
  };
  await openServer(before, async ({ url }) => {
    const past = await connectSql(await resolveConnection({ url }, {}), { database: 'postgres' });
    try {
      await withDemoClient(connection, signal, (now) =>
        planRescue({ ...options, ...request, before: past, now, file }),
      );
    } finally {
      await past.end();
    }
  });
  const planned = clock.monotonic();
  progress.phase('rescue: bringing the rows back');
  const rescued = await withDemoClient(connection, signal, (now) =>
    applyRescue({
      ...options,
      now,
      planFile: file,
      undoFile: `${file}.undo`,
      dryRun: false,
      onMoved: 'stop',
      triggers: 'auto',
      lockTimeoutMs: 10_000,
      statementTimeoutMs: 0,
    }),
  );
  const seconds = { plan: (planned - begun) / 1000, apply: (clock.monotonic() - planned) / 1000 };
  return { rescued, seconds };
}

const request = {
  model: {},
  root: { table: 'organizations', where: { key: 'demo' } },
  policies: {
    all: { insert: true, revert: false, remove: false },
    onConflict: 'stop',
    onSchemaChange: 'stop',
  },
} as const;

/** What the organization had is there as it was, and nothing is lost of what others wrote. */
async function outcome(
  client: Client,
  { lost, load }: { lost: Lost; load: DemoLoad },
): Promise<Pick<DemoAccident, 'same' | 'later'>> {
  const { rows } = await client.query<{ hash: string }>(contentSql, [lost.id, lost.newest, load.begun]);
  const there = await client.query<{ count: string }>('select count(*) from messages where id = any ($1)', [
    load.later,
  ]);
  const later = Number(there.rows[0]!.count);
  return { same: rows[0]!.hash === lost.hash && later === load.later.length, later };
}
