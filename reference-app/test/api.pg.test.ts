import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { TestServer } from '../../engine/test/pg-server.ts';
import { copySeeded, internalKey, RunningApp, sql, startDatabases } from './fixture.ts';

let server: TestServer;
let app: RunningApp;

before(async () => {
  server = await startDatabases();
  app = await RunningApp.start(await copySeeded(server, 'api'));
});

after(async () => {
  await app?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

const error = ({ status, body }: { status: number; body: { error?: { code: string } } }) => [
  status,
  body.error?.code,
];
const newest = async () => (await app.ask('/conversations?limit=1')).body.conversations[0];
const write = (id: string, rest: object = {}) =>
  app.post(`/conversations/${id}/messages`, { author: 'ada@example.com', body: 'hello', ...rest });

test('keys – missing, wrong, half right or of nobody are refused', async () => {
  const settings = '/api/org/demo/settings';
  for (const key of [undefined, '', 'wrong', internalKey.slice(0, -1), `${internalKey}x`])
    assert.deepEqual(
      error(await app.ask(settings, { headers: key === undefined ? {} : { 'x-internal-key': key } })),
      [401, 'UNAUTHORIZED'],
    );
  for (const headers of [{}, { 'x-org-key': 'nobody' }, { 'x-internal-key': internalKey }])
    assert.deepEqual(error(await app.ask('/conversations', { headers: headers as Record<string, string> })), [
      401,
      'UNAUTHORIZED',
    ]);
  const headers = { 'x-internal-key': internalKey };
  assert.deepEqual(error(await app.ask('/api/org/nobody/settings', { headers })), [404, 'NOT_FOUND']);
});

test('what is not understood – 400 with what is wrong, nothing is passed over', async () => {
  const headers = { 'x-internal-key': internalKey };
  for (const body of [{}, { writeEnabled: 'perhaps' }, { writeEnabld: false }, { locale: 'klingon' }, '{'])
    assert.equal((await app.ask('/api/org/demo/settings', { method: 'PATCH', body, headers })).status, 400);
  assert.deepEqual(error(await app.post('/conversations', { subject: '' })), [400, 'INVALID']);
  assert.deepEqual(error(await app.ask('/conversations?limit=0')), [400, 'INVALID']);
  assert.deepEqual(error(await app.ask('/conversations/1/messages')), [400, 'INVALID']);
  assert.deepEqual(error(await app.ask('/nothing')), [404, 'NOT_FOUND']);
  const large = { subject: 'x', tags: ['y'.repeat(9_000_000)] };
  assert.equal((await app.post('/conversations', large)).status, 413);
});

test('a body – means what it says: null, a text or a number is no truth', async () => {
  const headers = { 'x-internal-key': internalKey };
  for (const writeEnabled of [null, 'false', 0, ''])
    assert.deepEqual(
      error(await app.ask('/api/org/demo/settings', { method: 'PATCH', body: { writeEnabled }, headers })),
      [400, 'INVALID'],
      JSON.stringify(writeEnabled),
    );
  assert.deepEqual(error(await app.post('/conversations', { subject: 7 })), [400, 'INVALID']);
  assert.equal((await app.ask('/conversations?limit=1')).body.conversations.length, 1);
  for (const limit of ['', '0', 'x', '201', '1&limit=2'])
    assert.deepEqual(error(await app.ask(`/conversations?limit=${limit}`)), [400, 'INVALID'], limit);
});

test('characters that no text of PostgreSQL can hold – 400, in keys, texts and JSON; SQL is text', async () => {
  const headers = { 'x-internal-key': internalKey };
  for (const key of ['%00', 'demo%00', `${encodeURIComponent("' or 1=1 --")}`])
    assert.ok([400, 404].includes((await app.ask(`/api/org/${key}/settings`, { headers })).status), key);
  const { id } = await newest();
  assert.deepEqual(error(await app.post('/conversations', { subject: 'a\0b' })), [400, 'INVALID']);
  assert.deepEqual(error(await app.post('/conversations', { subject: 'x', tags: ['\0'] })), [400, 'INVALID']);
  assert.deepEqual(error(await app.ask('/conversations?tag=%00')), [400, 'INVALID']);
  assert.deepEqual(error(await write(id, { body: '\0' })), [400, 'INVALID']);
  assert.deepEqual(error(await write(id, { meta: { a: '\0' } })), [400, 'INVALID']);
  assert.deepEqual(error(await write(id, { meta: { a: '\ud800' } })), [400, 'INVALID']);
  const quoted = await app.post('/conversations', { subject: `'); drop table messages; --`, tags: [`"'`] });
  assert.deepEqual([quoted.status, quoted.body.tags], [201, [`"'`]]);
  assert.deepEqual((await app.ask(`/conversations?tag=${encodeURIComponent(`"'`)}`)).body.conversations, [
    quoted.body,
  ]);
});

test('a conversation – opened with tags, found by them, in the audit trail', async () => {
  const made = await app.post('/conversations', { subject: 'Where is it?', tags: ['shipping', 'new tag'] });
  assert.equal(made.status, 201);
  assert.deepEqual(made.body.tags, ['shipping', 'new tag']);
  assert.deepEqual(await newest(), made.body);
  const tagged = await app.ask('/conversations?tag=new%20tag&status=open');
  assert.deepEqual(tagged.body.conversations, [made.body]);
  assert.deepEqual((await app.ask('/conversations?tag=new%20tag&status=closed')).body.conversations, []);
  const trail = await sql(
    server,
    'api',
    `select action from audit_events where entity_id = '${made.body.id}'`,
  );
  assert.deepEqual(trail, [{ action: 'open' }]);
});

test('messages – threads, meta and attachments come back as they were written', async () => {
  const { id } = await newest();
  const first = await write(id, { meta: { client: 'web' } });
  assert.equal(first.status, 201);
  const content = Buffer.from([0, 255, 10, 13, 128]);
  const attachments = [{ name: 'a.bin', contentType: 'application/zip', base64: content.toString('base64') }];
  const reply = await write(id, { parentId: first.body.id, attachments });
  const { messages } = (await app.ask(`/conversations/${id}/messages?limit=500`)).body;
  assert.deepEqual(messages.slice(-2), [first.body, reply.body]);
  assert.equal(reply.body.parentId, first.body.id);
  assert.deepEqual(reply.body.author, { email: 'ada@example.com', name: 'ada' });
  const headers = { 'x-org-key': 'demo' };
  const file = await fetch(`${app.url}/attachments/${reply.body.attachments[0].id}`, { headers });
  assert.equal(file.headers.get('content-type'), 'application/zip');
  assert.deepEqual(Buffer.from(await file.arrayBuffer()), content);
  const other = (await app.ask('/conversations?limit=2')).body.conversations[1].id;
  assert.deepEqual(error(await write(other, { parentId: first.body.id })), [400, 'INVALID']);
});

test('pages – every conversation and every message exactly once, in order', async () => {
  const pages = async (path: string, what: string) => {
    const found: { id: string; createdAt: string }[] = [];
    for (let next: string | null = ''; next !== null; ) {
      const page = await app.ask(`${path}?limit=3${next ? `&after=${next}` : ''}`);
      found.push(...page.body[what]);
      next = page.body.next;
    }
    return found;
  };
  const [counts] = await sql<{ conversations: number; messages: number; most: string }>(
    server,
    'api',
    `select (select count(*)::int from conversations where organization_id = o.id) as conversations, m.* from organizations o,
       lateral (select conversation_id as most, count(*)::int as messages from messages join conversations c on c.id = conversation_id
         where organization_id = o.id group by 1 order by 2 desc limit 1) m where key = 'demo'`,
  );
  const conversations = await pages('/conversations', 'conversations');
  assert.equal(new Set(conversations.map(({ id }) => id)).size, counts!.conversations);
  assert.equal(conversations.length, counts!.conversations);
  const times = conversations.map(({ createdAt }) => createdAt);
  assert.deepEqual(times, [...times].sort().reverse());
  const messages = await pages(`/conversations/${counts!.most}/messages`, 'messages');
  assert.equal(new Set(messages.map(({ id }) => id)).size, counts!.messages);
});

test('a page after a conversation that is gone, or of another – 404, and not the end', async () => {
  const { id } = await newest();
  const gone = (await app.post('/conversations', { subject: 'to be deleted' })).body.id;
  await sql(server, 'api', `delete from conversations where id = '${gone}'`);
  assert.deepEqual(error(await app.ask(`/conversations?after=${gone}`)), [404, 'NOT_FOUND']);
  const headers = { 'x-org-key': 'org-2' };
  assert.deepEqual(error(await app.ask(`/conversations?after=${id}`, { headers })), [404, 'NOT_FOUND']);
});

test('another organization – does not see or write what is not its own', async () => {
  const { id } = await newest();
  const headers = { 'x-org-key': 'org-2' };
  assert.deepEqual(error(await app.ask(`/conversations/${id}/messages`, { headers })), [404, 'NOT_FOUND']);
  const body = { author: 'eve@example.com', body: 'mine' };
  const written = await app.ask(`/conversations/${id}/messages`, { method: 'POST', body, headers });
  assert.deepEqual(error(written), [404, 'NOT_FOUND']);
  const [file] = await sql<{ id: string }>(
    server,
    'api',
    `select a.id from attachments a join messages m on m.id = message_id join conversations c on c.id = conversation_id
     join organizations o on o.id = organization_id where key = 'demo'`,
  );
  assert.equal((await app.ask(`/attachments/${file!.id}`)).status, 200);
  assert.deepEqual(error(await app.ask(`/attachments/${file!.id}`, { headers })), [404, 'NOT_FOUND']);
});

test('new tags and authors from many requests at once – one of each', async () => {
  const { id } = await newest();
  const author = 'many@example.com';
  const all = await Promise.all(
    Array.from({ length: 8 }, () => [
      app.post('/conversations', { subject: 'at once', tags: ['one', 'two'] }),
      write(id, { author }),
    ]).flat(),
  );
  assert.deepEqual(
    all.map(({ status }) => status),
    all.map(() => 201),
  );
  const count = `select (select count(*)::int from tags where name = 'one') as tags,
    (select count(*)::int from users where email = '${author}') as users`;
  assert.deepEqual(await sql(server, 'api', count), [{ tags: 1, users: 1 }]);
});

test('writeEnabled=false – writes of this organization answer 503 with the reason, reads and others go on', async () => {
  const { id } = await newest();
  const off = await app.setWriteEnabled(false);
  assert.deepEqual(
    [off.status, off.body.settings.writeEnabled, off.body.settings.locale],
    [200, false, 'tr'],
  );
  const refused = await app.post('/conversations', { subject: 'too late' });
  assert.deepEqual(error(refused), [503, 'WRITES_DISABLED']);
  assert.match(refused.body.error.message, /writeEnabled is false/);
  assert.equal(refused.headers.get('retry-after'), '30');
  assert.deepEqual(error(await write(id)), [503, 'WRITES_DISABLED']);
  assert.equal((await app.ask('/conversations')).status, 200);
  assert.equal((await app.ask(`/conversations/${id}/messages`)).status, 200);
  const headers = { 'x-org-key': 'org-2' };
  const other = await app.ask('/conversations', { method: 'POST', body: { subject: 'fine' }, headers });
  assert.equal(other.status, 201);
  assert.equal((await app.setWriteEnabled(true)).body.settings.writeEnabled, true);
  assert.equal((await write(id)).status, 201);
});

test('writeEnabled=false under load – once it is answered, no write commits any more', async () => {
  const { id } = await newest();
  const count = () => sql(server, 'api', 'select count(*)::int as n from messages');
  const writes = Array.from({ length: 60 }, () => write(id));
  await writes[0];
  assert.equal((await app.setWriteEnabled(false)).status, 200);
  const then = await count();
  const statuses = (await Promise.all(writes)).map(({ status }) => status);
  assert.deepEqual(await count(), then);
  assert.ok(statuses.includes(201) && statuses.every((status) => [201, 503].includes(status)), `${statuses}`);
  await app.setWriteEnabled(true);
});
