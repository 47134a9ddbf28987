/**
 * The data: organizations, conversations and messages with text, uuid, jsonb and timestamps, their indexes, and the accounts
 * table of pgbench. About two thirds of it is message text built from common words, with distinct parts in each row.
 */
import { Client } from 'pg';
import { say } from './tools.ts';

export interface Place {
  readonly socketDir: string;
  readonly port: number;
}

export async function connect({ socketDir, port }: Place): Promise<Client> {
  const client = new Client({ host: socketDir, port, user: 'postgres', database: 'postgres' });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

const words =
  'the of and to in is you that it he was for on are as with his they at be this have from or one had by word but not what ' +
  'all were we when your can said there use an each which she do how their if will up other about out many then them these ' +
  'so some her would make like him into time has look two more write go see number no way could people my than first water ' +
  'been call who oil its now find long down day did get come made may part over new sound take only little work know place ' +
  'year live me back give most very after thing our just name good sentence man think say great where help through much ' +
  'before line right too mean old any same tell boy follow came want show also around form three small set put end does ' +
  'another well large must big even such because turn here why ask went men read need land different home us move try kind ' +
  'hand picture again change off play spell air away animal house point page letter mother answer found study still learn';

/** Room in each page, so that updates stay on their page, as on a table that is updated often. */
const fillFactor = 90;

function basics(scale: number): string[] {
  return [
    'create table organizations (id uuid primary key default gen_random_uuid(), name text not null, plan text not null, created_at timestamptz not null default now())',
    'create table conversations (id uuid primary key default gen_random_uuid(), organization_id uuid not null references organizations, subject text not null, status text not null, created_at timestamptz not null)',
    `create table messages (id bigint generated always as identity primary key, conversation_id uuid not null, author text not null, body text not null, meta jsonb not null, created_at timestamptz not null) with (fillfactor = ${fillFactor}, autovacuum_enabled = off)`,
    `create unlogged table s as with w as (select string_to_array('${words}', ' ') w) select n, (select string_agg(w[1 + floor(random() * array_length(w, 1))::int], ' ') from w, generate_series(1, 8 + n % 14) where n = n) body from generate_series(1, 20000) n`,
    'create unique index on s (n)',
    `insert into organizations (name, plan) select 'Organization ' || i, (array['free', 'team', 'business'])[1 + i % 3] from generate_series(1, 2000) i`,
    'create unlogged table o as select row_number() over () n, id from organizations',
    `insert into conversations (organization_id, subject, status, created_at) select o.id, s.body, (array['open', 'closed', 'pending'])[1 + i % 3], now() - (i || ' seconds')::interval from generate_series(1, ${Math.round(400_000 * scale)}) i join o on o.n = 1 + i % 2000 join s on s.n = 1 + i % 20000`,
    'create unlogged table c as select row_number() over () n, id from conversations',
    'create unique index on c (n)',
    'analyze c',
    'analyze s',
  ];
}

function messages(from: number, to: number, conversations: number): string {
  return `insert into messages (conversation_id, author, body, meta, created_at)
    select c.id, 'user' || ((i % 100000) * 7919::bigint % 50000) || '@example.com', s1.body || '. ' || s2.body || ' #' || md5(i::text),
      jsonb_build_object('ip', '10.' || i % 250 || '.' || i % 199 || '.' || i % 97, 'agent', i % 17, 'tokens', (i % 100000 * 37) % 4096),
      now() - (i || ' seconds')::interval
    from generate_series(${from}, ${to}) i join c on c.n = 1 + (i * 7919::bigint) % ${conversations}
      join s s1 on s1.n = 1 + (i * 31::bigint) % 20000 join s s2 on s2.n = 1 + (i * 17::bigint + i / 20000) % 20000`;
}

function accounts(rows: number): string[] {
  return [
    `create table pgbench_accounts (aid int not null, bid int, abalance int, filler char(84)) with (fillfactor = ${fillFactor})`,
    `insert into pgbench_accounts select i, 1 + (i - 1) / 100000, 0, '' from generate_series(1, ${rows}) i`,
    'alter table pgbench_accounts add primary key (aid)',
  ];
}

const indexes = [
  'create index on messages (conversation_id, created_at)',
  'create index on conversations (organization_id)',
  'drop table s, c, o',
];

/** `scale` 1 makes a little over 3 GB. Returns the bytes of all databases. */
export async function fill(place: Place, scale: number): Promise<number> {
  const begun = performance.now();
  const [one, two] = [await connect(place), await connect(place)];
  try {
    const rows = Math.round(4_700_000 * scale);
    const half = Math.floor(rows / 2);
    const conversations = Math.round(400_000 * scale);
    await each(one, basics(scale));
    await Promise.all([
      each(one, [messages(1, half, conversations)]),
      each(two, [messages(half + 1, rows, conversations), ...accounts(Math.round(6_700_000 * scale))]),
    ]);
    await each(one, [...indexes, 'vacuum (analyze)', 'checkpoint']);
    const { rows: sizes } = await one.query<{ bytes: string }>(
      'select sum(pg_database_size(oid))::text as bytes from pg_database',
    );
    const bytes = Number(sizes[0]!.bytes);
    say(`made ${(bytes / 1e9).toFixed(2)} GB in ${((performance.now() - begun) / 1000).toFixed(0)} s`);
    return bytes;
  } finally {
    await Promise.all([one.end(), two.end()]);
  }
}

async function each(client: Client, statements: readonly string[]): Promise<void> {
  for (const statement of statements) await client.query(statement);
}

/** A new round's share of one percent: one row changed on every hundredth heap page, another hundredth each round. */
export async function changeOnePercent(place: Place, round: number): Promise<void> {
  const client = await connect(place);
  try {
    for (const [table, change] of [
      ['messages', `meta = meta || jsonb_build_object('seen', md5(random()::text))`],
      ['pgbench_accounts', 'abalance = (random() * 10000)::int'],
    ]) {
      await client.query(
        `update ${table} set ${change} where ctid = any (array(select format('(%s,1)', 100 * i + (i * 37 + ${round}) % 100)::tid
         from generate_series(0, pg_relation_size('${table}') / 8192 / 100 - 1) i))`,
      );
    }
    await client.query('checkpoint');
  } finally {
    await client.end();
  }
}

/** `count` tables of one row each. */
export async function manyTables(place: Place, count: number): Promise<void> {
  const client = await connect(place);
  const begun = performance.now();
  try {
    await client.query(`create procedure many() language plpgsql as $$ begin
      for i in 1..${count} loop
        execute format('create table small_%s as select %s as id, now() as made', i, i);
        if i % 500 = 0 then commit; end if;
      end loop; end $$`);
    await client.query('call many()');
    await client.query('checkpoint');
    say(`made ${count} tables in ${((performance.now() - begun) / 1000).toFixed(0)} s`);
  } finally {
    await client.end();
  }
}
