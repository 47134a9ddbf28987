/**
 * The demonstration's database: the tables of the guide's application with some hundred thousand rows that look like real ones.
 * Made by the server itself, from a fixed seed, so that every demo is the same. The tables are those of the application's
 * first release, with its migration noted as Prisma does: the application starts on a demo once its migrations ran.
 */
import type { Client } from 'pg';

export interface DemoSize {
  readonly organizations: number;
  readonly conversations: number;
  readonly messages: number;
}

export const demoSize: DemoSize = { organizations: 200, conversations: 20_000, messages: 300_000 };

/** The application's first migration, and the SHA-256 of its file. */
const firstRelease = {
  name: '20260105090000_init',
  checksum: 'c215ce1cbb0348299bdbeacc4615ae94ff7f0bc1857deedd5156a1fe52eda701',
};

const usersOfEach = 25;

const words =
  'invoice order customer delivery refund payment account please thanks question answer problem update password login error ' +
  'screen mobile browser shipping address change cancel monthly yearly plan team member invite report export import ' +
  'morning today tomorrow waiting solved urgent again still works broken link email phone number contract price discount';

export async function createDemoTables(client: Client): Promise<void> {
  await client.query(`
    create type plan as enum ('free', 'team', 'business');
    create type role as enum ('owner', 'agent', 'customer');
    create type status as enum ('open', 'pending', 'closed');
    create table organizations (
      id uuid primary key default gen_random_uuid(), key text not null, name text not null, plan plan not null default 'free',
      settings jsonb not null default '{"writeEnabled": true}', created_at timestamptz(3) not null default current_timestamp);
    create table users (
      id uuid primary key default gen_random_uuid(),
      organization_id uuid not null references organizations on update cascade on delete cascade,
      email text not null, name text not null, role role not null default 'customer',
      created_at timestamptz(3) not null default current_timestamp);
    create table conversations (
      id uuid primary key default gen_random_uuid(),
      organization_id uuid not null references organizations on update cascade on delete cascade,
      subject text not null, status status not null default 'open',
      created_at timestamptz(3) not null default current_timestamp);
    create table messages (
      id bigserial primary key, conversation_id uuid not null references conversations on update cascade on delete cascade,
      author_id uuid references users on update cascade on delete set null, body text not null,
      meta jsonb not null default '{}', created_at timestamptz(3) not null default current_timestamp);
    create table _prisma_migrations (
      id varchar(36) primary key, checksum varchar(64) not null, finished_at timestamptz, migration_name varchar(255) not null,
      logs text, rolled_back_at timestamptz, started_at timestamptz not null default now(),
      applied_steps_count int not null default 0);
    insert into _prisma_migrations (id, checksum, finished_at, migration_name, applied_steps_count)
      values (gen_random_uuid()::text, '${firstRelease.checksum}', now(), '${firstRelease.name}', 1);
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
    `insert into organizations (id, key, name, plan, created_at)
     select md5('organization ' || i)::uuid, case i when 1 then 'demo' else 'org-' || i end, 'Organization ' || i,
       (array['free', 'team', 'business'])[1 + i % 3]::plan, timestamptz '2026-01-01' + i * interval '1 hour'
     from generate_series(1, $1::int) i`,
    [size.organizations],
  );
  await client.query(
    `insert into users (id, organization_id, email, name, role, created_at)
     select md5('user ' || i)::uuid, md5('organization ' || 1 + i % $1::int)::uuid, 'user' || i || '@example.com', 'User ' || i,
       case when i < $1 then 'owner' when i < 5 * $1 then 'agent' else 'customer' end::role, timestamptz '2026-01-10'
     from generate_series(0, $1 * ${usersOfEach} - 1) i`,
    [size.organizations],
  );
  await client.query(
    `insert into conversations (id, organization_id, subject, status, created_at)
     select md5('conversation ' || i)::uuid, md5('organization ' || 1 + i % $2::int)::uuid, p.body,
       (array['open', 'closed', 'pending'])[1 + i % 3]::status, timestamptz '2026-02-01' + i * interval '3 minutes'
     from generate_series(1, $1::int) i join phrases p on p.n = 1 + i % 4000`,
    [size.conversations, size.organizations],
  );
  await addMessages(client, { from: 1, to: size.messages, size });
  await client.query(
    `create unique index organizations_key_key on organizations (key);
     create unique index users_organization_id_email_key on users (organization_id, email);
     create index on conversations (organization_id, created_at, id);
     create index on messages (conversation_id, id);
     create index on messages (author_id);
     analyze`,
  );
}

/** The load between the two backups: new messages, and changes here and there. Returns how many rows it touched. */
export async function demoLoad(client: Client, size: DemoSize): Promise<number> {
  await addMessages(client, { from: size.messages + 1, to: size.messages + 5_000, size });
  const updated = await client.query(
    `update conversations set status = 'closed' where id in (select id from conversations where status = 'open' order by id limit 500)`,
  );
  const deleted = await client.query('delete from messages where id % 1009 = 0');
  return 5_000 + (updated.rowCount ?? 0) + (deleted.rowCount ?? 0);
}

/** By users of the conversation's organization. */
async function addMessages(
  client: Client,
  { from, to, size }: { from: number; to: number; size: DemoSize },
): Promise<void> {
  await client.query(
    `insert into messages (conversation_id, author_id, body, meta, created_at)
     select md5('conversation ' || c)::uuid, md5('user ' || c % $4::int + $4 * ((i * 31::bigint) % ${usersOfEach}))::uuid,
       p.body || '. ' || q.body || '.', jsonb_build_object('client', (array['web', 'ios', 'android'])[1 + i % 3], 'length', i % 400),
       timestamptz '2026-03-01' + i * interval '20 seconds'
     from generate_series($1::int, $2::int) i cross join lateral (select 1 + (i * 7919::bigint) % $3::int as c) number
     join phrases p on p.n = 1 + (i * 17::bigint) % 4000 join phrases q on q.n = 1 + (i * 13::bigint + i / 4000) % 4000`,
    [from, to, size.conversations, size.organizations],
  );
}
