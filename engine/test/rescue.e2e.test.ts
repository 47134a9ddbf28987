/** The guide's second disaster, as its user meets it: all conversations of one organization deleted while others work. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { openByAge } from '../src/operations/rescue/testing/open-by-age.ts';
import { query, withClient } from './backup-fixture.ts';
import { helvino, helvinoJson } from './cli.ts';
import { startTestServer, type TestServer } from './pg-server.ts';
import { streamByCli } from './wal-stream-cli.ts';

let server: TestServer;
let home: string;
const identity = ['--identity', 'helvino-recovery-identity.txt'];

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'hv-rescue-'));
  server = await startTestServer({ templates: true, major: 18, initdbArgs: ['--wal-segsize=1'] });
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
    const told = ['rescue', 'apply', 'demo.plan', '--confirm', 'demo', '--sha256'];
    const other = await helvinoJson([...told, '0'.repeat(64)], { cwd: home });
    assert.equal(other.error?.code, 'PLAN_CHANGED');
    const [, sha256 = ''] = /SHA-256 ([0-9a-f]{64})/.exec(masked.stdout) ?? [];
    const applied = await good([...told, sha256]);
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

test('one organization exported from a backup, encrypted, and from the live database – imported into a new database, undone; another identity, or none, is refused', async () => {
  const where = ['--root', 'organizations', '--org', 'demo'];
  const warned = await helvino(['export', ...where, '--plain', '--out', 'live', '--json'], { cwd: home });
  assert.match(warned.stderr, /warning: the files hold personal data and are not encrypted/);
  const live = (JSON.parse(warned.stdout) as { result: Record<string, unknown> }).result;
  assert.equal(live.recipients, null);
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
  assert.match(past.stdout, /encrypted to age1/);
  const [csv] = (await readdir(join(home, 'live', 'data'))).filter((name) =>
    name.endsWith('public.messages.csv'),
  );
  assert.match(
    await readFile(join(home, 'live', 'data', csv!), 'utf8'),
    /^id,conversation,body,at\n\d+,\d+,m\d+,20/,
  );
  const clear = ['HOW-TO-OPEN.txt', 'SHA256SUMS'];
  const names = (await readdir(join(home, 'past'), { recursive: true })).filter((name) => name !== 'data');
  for (const name of names) {
    assert.doesNotMatch(name, /messages|conversations/);
    const text = await readFile(join(home, 'past', name), 'latin1');
    assert.doesNotMatch(text, /organizations|messages|demo/, name);
    assert.equal(text.startsWith('age-encryption.org/v1\n'), !clear.includes(name), name);
  }
  const key = (await readFile(join(home, identity[1]!), 'utf8')).match(/AGE-SECRET-KEY-\S+/)![0];
  await openByAge(join(home, 'past'), join(home, 'opened'), key);
  assert.match(
    await readFile(join(home, 'opened', 'README.txt'), 'utf8'),
    /2000 rows of public\.messages, its own/,
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
    const bare = ['import', 'past', '--url', url, '--dry-run', '-o', 'try.plan'];
    assert.equal((await helvinoJson(bare, { cwd: home })).error?.code, 'KEY_MISSING');
    await good(['key', 'new', '--output', 'other-identity.txt']);
    const other = await helvinoJson([...bare, '--identity', 'other-identity.txt'], { cwd: home });
    assert.deepEqual([other.error?.code, other.status], ['KEY_WRONG', 77]);
    const variable = { HELVINO_IDENTITY_FILE: join(home, identity[1]!) };
    const rehearsal = await helvino(bare, { cwd: home, env: variable });
    // Without the configuration's references the reactions would be left out in silence.
    assert.match(rehearsal.stderr, /of 400 rows of public\.reactions 0 are reached/);
    await writeFile(
      join(home, 'elsewhere.yaml'),
      (await readFile(join(home, 'helvino.yaml'), 'utf8')).replaceAll(server.url, url),
    );
    const here = ['--config', 'elsewhere.yaml'];
    const open = [...here, ...identity];
    const tried = await good(['import', 'past', '--dry-run', '-o', 'try2.plan', ...open]);
    assert.equal((tried.applied as { state: string }).state, 'dry-run');
    const refused = await helvinoJson(['import', 'past', '-o', 'try3.plan', ...open], { cwd: home });
    assert.equal(refused.error?.code, 'CONFIRMATION_NEEDED');
    await good(['import', 'past', '-o', 'past.plan', '--confirm', 'demo', ...open]);
    const count = () =>
      elsewhere
        .query('select (select count(*) from messages)::int as m, (select count(*) from reactions)::int as r')
        .then((result) => result.rows[0]);
    assert.deepEqual(await count(), { m: 2000, r: 400 });
    await good(['rescue', 'undo', 'past.plan.undo', '--confirm', 'demo', ...here]);
    assert.deepEqual(await count(), { m: 0, r: 0 });
    const same = await good(['import', 'opened', '--dry-run', '-o', 'try4.plan', ...here]);
    assert.equal((same.applied as { state: string }).state, 'dry-run');
  } finally {
    await elsewhere.end();
  }
});

test('whom an export is encrypted to – the recipients named, or those of the configuration; none known, or none at all, is refused', async () => {
  const where = ['export', '--root', 'organizations', '--org', 'demo'];
  const empty = join(home, 'empty');
  await mkdir(empty);
  const bare = await helvinoJson([...where, '--url', server.url], { cwd: empty });
  assert.equal(bare.error?.code, 'USAGE');
  assert.match(bare.error?.hint ?? '', /--recipient age1/);
  const ssh = await helvinoJson([...where, '--recipient', 'ssh-ed25519 AAAA'], { cwd: home });
  assert.equal(ssh.error?.code, 'KEY_WRONG');
  assert.equal(
    (await helvinoJson([...where, '--plain', '--recipient', 'age1x'], { cwd: home })).error?.code,
    'USAGE',
  );
  assert.deepEqual(await readdir(empty), []);

  const { recipient } = await good(['key', 'new', '--output', 'auditor.txt']);
  const named = await helvinoJson(
    [...where, '--url', server.url, '--recipient', String(recipient), '--out', 'named'],
    { cwd: empty },
  );
  assert.deepEqual(named.result?.recipients, [recipient], JSON.stringify(named));
  const wrong = await helvinoJson(['import', 'empty/named', '--dry-run', ...identity], { cwd: home });
  assert.equal(wrong.error?.code, 'KEY_WRONG');
});
