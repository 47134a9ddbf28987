/**
 * The seed's rows, made by the server: nothing but numbers goes over the wire. Everything follows from a row's number and the seed
 * number by md5, so that the same numbers make the same rows on every version of PostgreSQL.
 */
import type { Client } from 'pg';

export interface SeedSize {
  readonly organizations: number;
  readonly users: number;
  readonly conversations: number;
  readonly messages: number;
  readonly seed: number;
}

/** Messages of one statement. */
export const batchOf = 50_000;

const words =
  'invoice order customer delivery refund payment account please thanks question answer problem update password login error ' +
  'screen mobile browser shipping address change cancel monthly yearly plan team member invite report export import morning ' +
  'today tomorrow waiting solved urgent again still works broken link email phone number contract price discount';

/** Functions of this session: a number that looks random, and the id of a row. Stable, so that they are inlined: ten times faster. */
export async function createPhrases(client: Client, { seed }: SeedSize): Promise<void> {
  await client.query(`
    create function pg_temp.chance(what text, i bigint, below int) returns int language sql stable as
      $$ select (('x' || substr(md5(${seed} || what || i), 1, 7))::bit(28)::int) % below $$;
    create function pg_temp.id(what text, i bigint) returns uuid language sql stable as
      $$ select md5(${seed} || what || i)::uuid $$;
    create temp table phrases (n int primary key, body text not null)`);
  await client.query(
    `insert into phrases
     select n, (select string_agg(($1::text[])[1 + pg_temp.chance('word ' || n, w, cardinality($1::text[]))], ' ' order by w)
       from generate_series(1, 5 + n % 12) w)
     from generate_series(0, 1999) n`,
    [words.split(' ')],
  );
}

/** Organizations with their users, tags and conversations. Conversation c belongs to organization 1 + c % organizations. */
export async function insertTenants(client: Client, size: SeedSize): Promise<void> {
  const { organizations, users, conversations } = size;
  await client.query(
    `insert into organizations (id, key, name, plan, settings, created_at)
     select pg_temp.id('org', i), case i when 1 then 'demo' else 'org-' || i end, 'Organization ' || i,
       (array['free', 'team', 'business'])[1 + i % 3]::plan,
       jsonb_build_object('writeEnabled', true, 'locale', (array['en', 'tr', 'de'])[1 + i % 3]),
       timestamptz '2026-01-01Z' + i * interval '1 hour'
     from generate_series(1, $1::int) i`,
    [organizations],
  );
  await client.query(
    `insert into users (id, organization_id, email, name, role, created_at)
     select pg_temp.id('user', i), pg_temp.id('org', 1 + i % $2), 'user' || i || '@example.com', 'User ' || i,
       case when i < $2 then 'owner' when i < 5 * $2 then 'agent' else 'customer' end::role,
       timestamptz '2026-01-02Z' + i * interval '1 minute'
     from generate_series(0, $1::int - 1) i`,
    [users, organizations],
  );
  await client.query(
    `insert into tags (id, organization_id, name)
     select 1 + o * 5 + t, pg_temp.id('org', 1 + o), (array['billing', 'bug', 'question', 'shipping', 'vip'])[1 + t]
     from generate_series(0, $1::int - 1) o, generate_series(0, 4) t`,
    [organizations],
  );
  await client.query(
    `insert into conversations (id, organization_id, subject, status, created_at)
     select pg_temp.id('conversation', c), pg_temp.id('org', 1 + c % $2), p.body,
       (array['open', 'pending', 'closed'])[1 + pg_temp.chance('status', c, 3)]::status,
       timestamptz '2026-02-01Z' + c * interval '90 seconds'
     from generate_series(0, $1::int - 1) c join phrases p on p.n = pg_temp.chance('subject', c, 2000)`,
    [conversations, organizations],
  );
  await client.query(
    `insert into conversation_tags (conversation_id, tag_id)
     select pg_temp.id('conversation', c), 1 + (c % $2) * 5 + pg_temp.chance('tag', c, 5) from generate_series(0, $1::int - 1, 2) c`,
    [conversations, organizations],
  );
  await client.query(
    `insert into audit_events (id, organization_id, actor, action, entity, entity_id, detail, created_at)
     select 1 + c, organization_id, 'seed', 'open', 'conversations', id::text, jsonb_build_object('subject', subject), created_at
     from generate_series(0, $1::int - 1) c join conversations on id = pg_temp.id('conversation', c)`,
    [conversations],
  );
}

/** Message i is in conversation i % conversations, by someone of its organization; one in four answers the one before it there. */
export async function insertMessages(
  client: Client,
  { organizations, users, conversations }: SeedSize,
  range: { readonly from: number; readonly to: number },
): Promise<void> {
  await client.query(
    `insert into messages (id, conversation_id, author_id, parent_id, body, meta, created_at)
     select i, pg_temp.id('conversation', i % $3),
       pg_temp.id('user', i % $3 % $4 + $4 * pg_temp.chance('author', i, $5)),
       case when i > $3 and pg_temp.chance('reply', i, 4) = 0 then i - $3 end, p.body || '. ' || q.body || '.',
       jsonb_build_object('client', (array['web', 'ios', 'android'])[1 + i % 3]),
       timestamptz '2026-03-01Z' + i * interval '10 seconds'
     from generate_series($1::bigint, $2::bigint) i
     join phrases p on p.n = pg_temp.chance('first', i, 2000) join phrases q on q.n = pg_temp.chance('second', i, 2000)`,
    [range.from, range.to, conversations, organizations, users / organizations],
  );
  await client.query(
    `insert into attachments (id, message_id, name, content_type, content, created_at)
     select pg_temp.id('attachment', i), i, 'file-' || i || '.bin', 'application/octet-stream',
       decode(repeat(md5('content' || i), 1 + pg_temp.chance('size', i, 200)), 'hex'),
       timestamptz '2026-03-01Z' + i * interval '10 seconds'
     from generate_series($1::bigint, $2::bigint) i where i % 50 = 0`,
    [range.from, range.to],
  );
}

/** After rows that brought their numbers: the next one is free. */
export async function resetSequences(client: Client): Promise<void> {
  for (const table of ['messages', 'tags', 'audit_events'])
    await client.query(
      `select setval(pg_get_serial_sequence('${table}', 'id'), greatest(max(id), 1), max(id) is not null) from ${table}`,
    );
}
