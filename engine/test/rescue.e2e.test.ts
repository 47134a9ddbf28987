/** The guide's second disaster, as its user meets it: all conversations of one organization deleted while others work. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { query, withClient } from './backup-fixture.ts';
import { helvino, helvinoJson } from './cli.ts';
import { startTestServer, type TestServer } from './pg-server.ts';
import { streamByCli } from './wal-stream-cli.ts';

let server: TestServer;
let home: string;
const identity = ['--identity', 'helvino-recovery-identity.txt'];

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'hv-rescue-'));
  server = await startTestServer({ major: 18, initdbArgs: ['--wal-segsize=1'] });
  await query(
    server,
    `create table organizations (id int generated always as identity primary key, key text unique);
     create table conversations (id bigserial primary key, org int not null references organizations, title text);
     create table messages (id bigserial primary key, conversation bigint not null references conversations on delete cascade, body text, at timestamptz default now());
     create table reactions (subject_type text, subject_id text, emoji text);
     insert into organizations (key) values ('demo'), ('other');
     insert into conversations (org, title) select 1 + g % 2, 'c' || g from generate_series(1, 200) g;
     insert into messages (conversation, body) select 1 + g % 200, 'm' || g from generate_series(1, 4000) g;
     insert into reactions select 'message', g::text, '+1' from generate_series(1, 4000, 10) g`,
  );
});

after(async () => {
  await server[Symbol.asyncDispose]();
  await rm(home, { recursive: true, force: true });
});

async function good(words: readonly string[]): Promise<Record<string, unknown>> {
  const answer = await helvinoJson(words, { cwd: home });
  assert.ok(answer.ok, `${words.join(' ')}: ${JSON.stringify(answer)}`);
  return answer.result!;
}

/** Someone else's work that goes on: messages of the other organization, and new ones of the organization itself. */
async function underLoad(work: (counts: () => number) => Promise<void>): Promise<number> {
  let written = 0;
  let stop = false;
  const load = withClient(server, async (client) => {
    while (!stop) {
      await client.query(
        `insert into messages (conversation, body) select id, 'later' from conversations where org = 2 order by random() limit 1`,
      );
      await client.query(`update conversations set title = title || '.' where org = 2 and id % 10 = 0`);
      written++;
      await sleep(5);
    }
  });
  try {
    await work(() => written);
  } finally {
    stop = true;
    await load;
  }
  return written;
}

const fingerprint = (where: string) =>
  query<{ hash: string }>(
    server,
    `select (select coalesce(sum(hashtextextended(c::text, 0)), 0) from conversations c where ${where})::text || ' ' ||
       (select coalesce(sum(hashtextextended(m::text, 0)), 0) from messages m join conversations c on c.id = m.conversation where ${where})::text || ' ' ||
       (select count(*) from reactions) as hash`,
  ).then(({ rows }) => rows[0]!.hash);

test('conversations of one organization deleted under load – found, planned, applied; later work stays; undo puts back the state before', async () => {
  await good(['init', '--url', server.url, '--path', 'repository']);
  const config = join(home, 'helvino.yaml');
  const text = await readFile(config, 'utf8');
  await writeFile(
    config,
    text.replace(
      /(\n {4}repository: .*)/,
      `$1
    rescue:
      references:
        - { from: reactions, columns: [subject_id], to: messages, toColumns: [id], when: { subject_type: message } }`,
    ),
  );
  await using stream = await streamByCli(home, server);
  await good(['backup', '--fingerprint', 'off']);
  const wanted = await fingerprint('org = 1');
  let xid = 0;
  const written = await underLoad(async (counts) => {
    while (counts() < 20) await sleep(10);
    await query(
      server,
      `with gone as (delete from conversations where org = 1 returning id)
       select count(*) from gone; delete from reactions where subject_id::int % 20 = 1`,
    );
    const seen = counts();
    while (counts() < seen + 20) await sleep(10);
    await stream.upToNow();

    const found = await good(['find', '--table', 'conversations', '--deletes-over', '50', ...identity]);
    const [accident] = found.transactions as { xid: number; rescue: string }[];
    assert.ok(accident, JSON.stringify(found));
    xid = accident.xid;

    // As one would type it from what `find` prints.
    const typed = { TENANTS: 'organizations', KEY: 'demo', FILE: 'demo.plan' };
    const words = accident.rescue.split(' ').map((word) => typed[word as keyof typeof typed] ?? word);
    const plan = await helvino([...words.slice(1), ...identity], { cwd: home });
    assert.equal(plan.status, 0, plan.stdout + plan.stderr);
    assert.match(plan.stdout, /public\.conversations +\d+ +100 /);
    assert.match(plan.stdout, /public\.messages +\d+ +2000 /);
    assert.match(plan.stdout, /next: helvino rescue apply/);

    const shown = await helvino(['rescue', 'show', 'demo.plan', '--sql', '--show-values'], { cwd: home });
    assert.match(shown.stdout, /insert public\.messages: id=\d+, conversation=\d+, body=m\d+/);
    assert.match(shown.stdout, /insert into "public"\."messages"/);
    const masked = await helvino(['rescue', 'show', 'demo.plan'], { cwd: home });
    assert.doesNotMatch(masked.stdout, /body=/);

    const rehearsal = await good(['rescue', 'apply', 'demo.plan', '--dry-run']);
    assert.equal(rehearsal.state, 'dry-run');
    const refused = await helvinoJson(['rescue', 'apply', 'demo.plan'], { cwd: home });
    assert.equal(refused.error?.code, 'CONFIRMATION_NEEDED');
    const applied = await good(['rescue', 'apply', 'demo.plan', '--confirm', 'demo']);
    assert.equal(applied.state, 'applied');
    assert.equal(await fingerprint('org = 1'), wanted);
    const again = await good(['rescue', 'apply', 'demo.plan', '--confirm', 'demo']);
    assert.equal(again.state, 'nothing-to-do');
  });
  const { rows } = await query<{ n: number }>(
    server,
    `select count(*)::int as n from messages where body = 'later'`,
  );
  assert.equal(rows[0]!.n, written);
  // The same with the state just after the accident: nothing is left to do, and later work is told apart.
  const third = await good([
    'rescue',
    'plan',
    '--root',
    'organizations',
    '--key',
    'key=other',
    '--before',
    `xid:${xid}`,
    '--accident',
    `xid:${xid}`,
    '--revert',
    '--remove',
    '--out',
    'other.plan',
    ...identity,
  ]);
  for (const table of third.tables as {
    table: string;
    insert: number;
    revert: number;
    remove: number;
    rows: Record<string, number>;
  }[]) {
    assert.deepEqual([table.insert, table.revert, table.remove], [0, 0, 0], JSON.stringify(table));
    if (table.table === 'public.messages') assert.ok(table.rows.addedSince! > 0, JSON.stringify(table));
  }
  const rescued = await fingerprint('true');
  await good(['rescue', 'undo', 'demo.plan.undo', '--confirm', 'demo']);
  const left = await query<{ n: number }>(
    server,
    'select count(*)::int as n from conversations where org = 1',
  );
  assert.equal(left.rows[0]!.n, 0);
  await good(['rescue', 'undo', 'demo.plan.undo.redo', '--confirm', 'demo']);
  assert.equal(await fingerprint('true'), rescued);
  assert.deepEqual((await readdir(home)).filter((name) => name.startsWith('demo')).sort(), [
    'demo.plan',
    'demo.plan.undo',
    'demo.plan.undo.redo',
    'demo.plan.undo.redo.redo',
  ]);
});

test('one organization exported from a backup, and from the live database – imported into a new database, undone; the same folder for psql', async () => {
  const where = ['--root', 'organizations', '--org', 'demo'];
  const live = await good(['export', ...where, '--out', 'live']);
  const rows = (answer: Record<string, unknown>) =>
    Object.fromEntries(
      (answer.tables as { table: string; rows: number }[]).map(({ table, rows: count }) => [table, count]),
    );
  const counts = await query<{ messages: number; reactions: number }>(
    server,
    `select (select count(*)::int from messages m join conversations c on c.id = m.conversation where org = 1) as messages,
       (select count(*)::int from reactions where subject_id in (select m.id::text from messages m join conversations c on c.id = m.conversation where org = 1)) as reactions`,
  );
  assert.equal(rows(live)['public.messages'], counts.rows[0]!.messages);
  assert.equal(rows(live)['public.reactions'], counts.rows[0]!.reactions);
  assert.equal(rows(live)['public.organizations'], 1);

  const past = await helvino(['export', ...where, '--at', 'backup', '--out', 'past', ...identity], {
    cwd: home,
  });
  assert.equal(past.status, 0, past.stderr);
  assert.match(past.stdout, /public\.messages +2000 +0/);
  assert.match(
    await readFile(join(home, 'past', 'README.txt'), 'utf8'),
    /2000 rows of public\.messages, its own/,
  );
  const [csv] = (await readdir(join(home, 'past', 'data'))).filter((name) =>
    name.endsWith('public.messages.csv'),
  );
  assert.match(
    await readFile(join(home, 'past', 'data', csv!), 'utf8'),
    /^id,conversation,body,at\n\d+,\d+,m\d+,20/,
  );

  await query(server, 'create database elsewhere');
  const url = server.url.replace(/postgres$/, 'elsewhere');
  const elsewhere = new pg.Client(url);
  await elsewhere.connect();
  try {
    await elsewhere.query(
      `create table organizations (id int generated always as identity primary key, key text unique);
       create table conversations (id bigserial primary key, org int not null references organizations, title text);
       create table messages (id bigserial primary key, conversation bigint not null references conversations on delete cascade, body text, at timestamptz default now());
       create table reactions (subject_type text, subject_id text, emoji text)`,
    );
    const rehearsal = await helvino(['import', 'past', '--url', url, '--dry-run', '-o', 'try.plan'], {
      cwd: home,
    });
    // Without the configuration's references the reactions would be left out in silence.
    assert.match(rehearsal.stderr, /of 400 rows of public\.reactions 0 are reached/);
    await writeFile(
      join(home, 'elsewhere.yaml'),
      (await readFile(join(home, 'helvino.yaml'), 'utf8')).replaceAll(server.url, url),
    );
    const here = ['--config', 'elsewhere.yaml'];
    const tried = await good(['import', 'past', '--dry-run', '-o', 'try2.plan', ...here]);
    assert.equal((tried.applied as { state: string }).state, 'dry-run');
    const refused = await helvinoJson(['import', 'past', '-o', 'try3.plan', ...here], { cwd: home });
    assert.equal(refused.error?.code, 'CONFIRMATION_NEEDED');
    await good(['import', 'past', '-o', 'past.plan', '--confirm', 'demo', ...here]);
    const count = () =>
      elsewhere
        .query('select (select count(*) from messages)::int as m, (select count(*) from reactions)::int as r')
        .then((result) => result.rows[0]);
    assert.deepEqual(await count(), { m: 2000, r: 400 });
    await good(['rescue', 'undo', 'past.plan.undo', '--confirm', 'demo', ...here]);
    assert.deepEqual(await count(), { m: 0, r: 0 });
  } finally {
    await elsewhere.end();
  }
});
