/**
 * The demonstration's database: the tables of the guide with some hundred thousand rows that look like those of a real
 * application. Made by the server itself, from a fixed seed, so that every demo is the same.
 */
import type { Client } from 'pg';

export interface DemoSize {
  readonly organizations: number;
  readonly conversations: number;
  readonly messages: number;
}

export const demoSize: DemoSize = { organizations: 200, conversations: 20_000, messages: 300_000 };

const words =
  'invoice order customer delivery refund payment account please thanks question answer problem update password login error ' +
  'screen mobile browser shipping address change cancel monthly yearly plan team member invite report export import ' +
  'morning today tomorrow waiting solved urgent again still works broken link email phone number contract price discount';

export async function createDemoTables(client: Client): Promise<void> {
  await client.query(`
    create table organizations (
      id uuid primary key, name text not null, plan text not null, created_at timestamptz not null);
    create table conversations (
      id uuid primary key, organization_id uuid not null references organizations, subject text not null,
      status text not null, created_at timestamptz not null);
    create table messages (
      id bigint generated always as identity primary key, conversation_id uuid not null references conversations,
      author text not null, body text not null, meta jsonb not null, created_at timestamptz not null);
    create table phrases (n int primary key, body text not null);
    select setseed(0.42)`);
  await client.query(
    `insert into phrases select n, (select string_agg(w, ' ' order by random())
       from (select w from unnest(string_to_array($1, ' ')) w where n = n order by random() limit 6 + n % 12) x)
     from generate_series(1, 4000) n`,
    [words],
  );
}

export async function loadDemoRows(client: Client, size: DemoSize): Promise<void> {
  await client.query(
    `insert into organizations select md5('organization ' || i)::uuid, 'Organization ' || i,
       (array['free', 'team', 'business'])[1 + i % 3], timestamptz '2026-01-01' + i * interval '1 hour'
     from generate_series(1, $1::int) i`,
    [size.organizations],
  );
  await client.query(
    `insert into conversations select md5('conversation ' || i)::uuid, md5('organization ' || 1 + i % $2::int)::uuid, p.body,
       (array['open', 'closed', 'pending'])[1 + i % 3], timestamptz '2026-02-01' + i * interval '3 minutes'
     from generate_series(1, $1::int) i join phrases p on p.n = 1 + i % 4000`,
    [size.conversations, size.organizations],
  );
  await addMessages(client, { from: 1, to: size.messages, conversations: size.conversations });
  await client.query(
    `create index on messages (conversation_id, created_at); create index on conversations (organization_id)`,
  );
  await client.query('analyze');
}

/** The load between the two backups: new messages, and changes here and there. Returns how many rows it touched. */
export async function demoLoad(client: Client, size: DemoSize): Promise<number> {
  await addMessages(client, {
    from: size.messages + 1,
    to: size.messages + 5_000,
    conversations: size.conversations,
  });
  const updated = await client.query(
    `update conversations set status = 'closed' where id in (select id from conversations where status = 'open' order by id limit 500)`,
  );
  const deleted = await client.query('delete from messages where id % 1009 = 0');
  return 5_000 + (updated.rowCount ?? 0) + (deleted.rowCount ?? 0);
}

async function addMessages(
  client: Client,
  range: { from: number; to: number; conversations: number },
): Promise<void> {
  await client.query(
    `insert into messages (conversation_id, author, body, meta, created_at)
     select md5('conversation ' || 1 + (i * 7919::bigint) % $3::int)::uuid, 'user' || (i * 31::bigint) % 5000 || '@example.com',
       p.body || '. ' || q.body || '.', jsonb_build_object('client', (array['web', 'ios', 'android'])[1 + i % 3], 'length', i % 400),
       timestamptz '2026-03-01' + i * interval '20 seconds'
     from generate_series($1::int, $2::int) i
     join phrases p on p.n = 1 + (i * 17::bigint) % 4000 join phrases q on q.n = 1 + (i * 13::bigint + i / 4000) % 4000`,
    [range.from, range.to, range.conversations],
  );
}
