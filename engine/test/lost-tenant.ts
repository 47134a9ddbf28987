import pg from 'pg';
import { helvino } from './cli.ts';

/** What docs/operations/rescue-one-tenant.md is about. Resolves to the transaction once its WAL is stored. */
export async function loseConversations(server: { readonly url: string }, cwd: string): Promise<string> {
  const client = new pg.Client(server.url);
  await client.connect();
  await client.query(`create table organizations (id int primary key, key text unique);
    create table conversations (id int primary key, org int references organizations);
    insert into organizations values (1, 'demo'), (2, 'other');
    insert into conversations select i, 1 + i % 2 from generate_series(1, 100) i`);
  const { rows } = await client.query(
    'with gone as (delete from conversations where org = 1 returning id) select pg_current_xact_id()::text as xid, count(*) from gone',
  );
  await client.end();
  const find = ['find', '--xid', rows[0].xid, '--identity', 'identity.txt'];
  for (let i = 0; i < 60 && (await helvino(find, { cwd })).status !== 0; i++);
  return rows[0].xid;
}
