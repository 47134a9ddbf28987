/**
 * A tenth of a database belongs to one organization, all of whose conversations were deleted: plan, apply and undo, each in a
 * process of its own. The moment before is a database beside the live one on the same server.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from 'pg';
import { type Cluster, debianCluster, settle } from './cluster.ts';
import { table } from './report.ts';
import type { RescueChildResult, RescueJob } from './rescue-child.ts';
import { measure, median, run, say } from './tools.ts';
import type { WalOptions } from './wal-tools.ts';

type Action = RescueJob['action'];
const actions: readonly Action[] = ['plan', 'apply', 'undo'];

interface Sample {
  readonly seconds: number;
  /** Processor time of Helvino's process, without the server's. */
  readonly cpu: number;
  readonly peakMiB: number;
}

export interface RescueResults {
  readonly samples: Record<Action, Sample[]>;
  /** Rows of the database, and those that came back. */
  readonly rows: number;
  readonly rescued: number;
  readonly bytes: number;
}

const organizations = 10;

/** `scale` 1: ten million rows, a million of them the organization's. */
function statements(scale: number): string[] {
  const [conversations, messages, tags] = [500_000, 8_000_000, 1_480_000].map((rows) =>
    Math.round(rows * scale),
  );
  return [
    'create table organizations (id integer generated always as identity primary key, key text not null unique, name text not null)',
    'create table users (id bigint generated always as identity primary key, organization_id integer not null references organizations on delete cascade, email text not null unique)',
    'create table tags (id integer generated always as identity primary key, name text not null)',
    `create table conversations (id uuid primary key default gen_random_uuid(), organization_id integer not null references organizations on delete cascade,
       n bigint, subject text not null, created_at timestamptz not null default now())`,
    `create table messages (id bigint generated always as identity primary key, conversation_id uuid not null references conversations on delete cascade,
       author_id bigint not null references users, reply_to bigint, body text not null, meta jsonb not null, created_at timestamptz not null default now())`,
    'create table message_tags (message_id bigint not null references messages on delete cascade, tag_id integer not null references tags, primary key (message_id, tag_id))',
    `insert into organizations (key, name) select 'org' || i, 'Organization ' || i from generate_series(1, ${organizations}) i`,
    `insert into users (organization_id, email) select 1 + i % ${organizations}, 'user' || i || '@example.com' from generate_series(0, ${Math.round(20_000 * scale) + 99}) i`,
    `insert into tags (name) select 'tag ' || i from generate_series(1, 50) i`,
    `insert into conversations (organization_id, n, subject) select 1 + i % ${organizations}, i, 'Subject ' || md5(i::text) from generate_series(0, ${conversations! - 1}) i`,
    'create unique index conversations_n on conversations (n)',
    'create table user_numbers as select organization_id, (row_number() over (partition by organization_id order by id)) as n, id from users',
    `insert into messages (id, conversation_id, author_id, reply_to, body, meta) overriding system value
       select i + 1, c.id, u.id, case when i >= ${conversations} then i + 1 - ${conversations} end, repeat(md5(i::text), 1 + i % 5), jsonb_build_object('ip', '10.0.0.' || i % 250, 'tokens', i % 4096)
       from generate_series(0, ${messages! - 1}) i join conversations c on c.n = i % ${conversations}
       join user_numbers u on u.organization_id = c.organization_id and u.n = 1`,
    `insert into message_tags select id, 1 + id % 50 from messages where id <= ${tags}`,
    'drop table user_numbers',
    'create index on users (organization_id)',
    'create index on conversations (organization_id)',
    'create index on messages (conversation_id, created_at)',
    'create index on messages (author_id)',
    `select setval(pg_get_serial_sequence('messages', 'id'), ${messages})`,
    'alter table messages add foreign key (reply_to) references messages on delete set null',
    'create index on messages (reply_to)',
    'vacuum analyze',
  ];
}

async function connect({ socketDir, port }: Cluster, database: string): Promise<Client> {
  const client = new Client({ host: socketDir, port, user: 'postgres', database });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** Rows in all, and the database's bytes. */
async function fill(cluster: Cluster, scale: number): Promise<{ rows: number; bytes: number }> {
  const admin = await connect(cluster, 'postgres');
  await admin.query('create database live');
  const client = await connect(cluster, 'live');
  for (const statement of statements(scale)) await client.query(statement);
  const { rows } = await client.query<{ rows: string; bytes: string }>(
    `select sum(reltuples)::bigint as rows, pg_database_size('live') as bytes from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace`,
  );
  await client.end();
  say('copying the database: the moment before');
  await admin.query(`create database before template live`);
  await admin.end();
  return { rows: Number(rows[0]!.rows), bytes: Number(rows[0]!.bytes) };
}

/** All conversations of one organization; then others go on. */
async function accident(cluster: Cluster, scale: number): Promise<void> {
  const client = await connect(cluster, 'live');
  await client.query(`delete from conversations where organization_id = 1`);
  await client.query(
    `insert into messages (conversation_id, author_id, body, meta)
     select c.id, (select min(id) from users u where u.organization_id = c.organization_id), 'later', '{}'
     from (select * from conversations order by n limit ${Math.round(50_000 * scale)}) c`,
  );
  await client.query('vacuum analyze');
  await client.end();
}

export async function rescueBench(options: WalOptions): Promise<RescueResults> {
  const { home, rounds, scale } = options;
  await using cluster = await debianCluster(home);
  say(`making ${Math.round(scale * 10e6)} rows`);
  const size = await fill(cluster, scale);
  say('the accident');
  await accident(cluster, scale);
  await settle(cluster);
  const samples: RescueResults['samples'] = { plan: [], apply: [], undo: [] };
  const job = {
    url: cluster.url,
    before: 'before',
    now: 'live',
    planFile: join(home, 'rescue.plan'),
    undoFile: join(home, 'rescue.undo'),
    redoFile: join(home, 'rescue.redo'),
  };
  let rescued = 0;
  for (let round = 0; round < rounds; round++) {
    for (const action of actions) {
      await run('sync', []);
      const child = fileURLToPath(new URL('./rescue-child.ts', import.meta.url));
      const ran = await measure(process.execPath, [
        child,
        JSON.stringify({ ...job, action } satisfies RescueJob),
      ]);
      const { peakMiB, rows } = JSON.parse(ran.output.trim().split('\n').at(-1)!) as RescueChildResult;
      rescued = rows;
      samples[action].push({ seconds: ran.seconds, cpu: ran.cpu, peakMiB });
      say(
        `${action}: ${ran.seconds.toFixed(1)} s, ${ran.cpu.toFixed(1)} s of processor, ${rows} rows, ${peakMiB.toFixed(0)} MiB`,
      );
    }
    for (const file of [job.planFile, job.undoFile, job.redoFile]) await rm(file, { force: true });
  }
  return { samples, ...size, rescued };
}

export function rescueReport(
  facts: readonly string[],
  { samples, rows, rescued, bytes }: RescueResults,
): string {
  const lines = actions.map((action) => {
    const own = samples[action];
    const seconds = median(own.map((one) => one.seconds));
    // A million rows within a minute; undoing has no target of its own.
    const limit = (60 * rescued) / 1e6;
    return [
      action,
      seconds.toFixed(1),
      median(own.map((one) => one.cpu)).toFixed(1),
      Math.max(...own.map((one) => one.peakMiB)).toFixed(0),
      `≤ ${limit.toFixed(0)} s`,
      seconds <= limit ? 'met' : '**missed**',
      own.map((one) => one.seconds.toFixed(1)).join(', '),
    ];
  });
  return [
    '# Rescue of one organization',
    facts.map((line) => `- ${line}`).join('\n'),
    `A database of ${(rows / 1e6).toFixed(1)} million rows (${(bytes / 1e9).toFixed(2)} GB, PostgreSQL 15), of which ${rescued.toLocaleString('en')} were deleted with the conversations of one organization; the moment before is a second database on the same server. Wall time of the whole process; processor time and peak memory are Helvino's alone.`,
    table(['', 'median, s', 'processor, s', 'peak, MiB', 'target', '', 'rounds, s'], lines),
  ].join('\n\n');
}
