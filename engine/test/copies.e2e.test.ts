import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { type S3TestServer, startS3Server } from '../src/storage/testing/s3-server.ts';
import { helvino, helvinoJson, type JsonAnswer } from './cli.ts';
import { startTestServer, type TestServer } from './pg-server.ts';

const s3 = await startS3Server();

describe('copies of a repository', { concurrency: 1 }, () => registerTests(s3));

/** The copies: `main` and `second` on disks, `third` on S3 if there is a server. */
function registerTests(store: S3TestServer | string): void {
  let server: TestServer;
  let home: string;
  const identity = 'helvino-recovery-identity.txt';
  const copies = typeof store === 'string' ? ['second'] : ['second', 'third'];
  const here = () => ({
    cwd: home,
    env: { AWS_ACCESS_KEY_ID: 'root-key', AWS_SECRET_ACCESS_KEY: 'root-secret' },
  });

  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'hv-copies-'));
    server = await startTestServer({ major: 18, config: { summarize_wal: 'on' } });
    await sql('create table shop (id int primary key, name text)');
    await sql('insert into shop select i, md5(i::text) from generate_series(1, 20000) i');
    const made = await helvino(['init', '--url', server.url, '--path', 'main', '--no-check'], here());
    assert.equal(made.status, 0, made.stderr);
    await nameCopies();
  });

  after(async () => {
    if (typeof store !== 'string') store.stop();
    await server[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  });

  async function nameCopies(): Promise<void> {
    const file = join(home, 'helvino.yaml');
    const text = await readFile(file, 'utf8');
    const main = /^ {2}main:\n((?: {4}.*\n| *\n)+)/m.exec(text)![1]!;
    const as = (storage: string) => main.replace(/^ {4}storage: .*$/m, `    storage: ${storage}`);
    let repositories = `  second:\n${as('{ type: fs, path: second }')}`;
    if (typeof store !== 'string') {
      const bucket = await store.bucket('versioned');
      repositories += `  third:\n${as(`{ type: s3, bucket: ${bucket}, region: default, pathStyle: true, endpoint: "${store.endpoint}" }`)}`;
    }
    await writeFile(
      file,
      text
        .replace('databases:\n', `${repositories}\ndatabases:\n`)
        .replace(/repository: main\n/, `repository: main\n    copies: [${copies.join(', ')}]\n`),
    );
  }

  async function sql(text: string): Promise<void> {
    const client = new pg.Client(server.url);
    await client.connect();
    await client.query(text);
    await client.end();
  }

  async function idsIn(copy: string): Promise<string[]> {
    const answer = await helvinoJson(['list', '--copy', copy], here());
    assert.equal(answer.status, 0, JSON.stringify(answer));
    const backups = (answer.result?.backups ?? []) as { id: string }[];
    return backups.map(({ id }) => id).sort();
  }

  async function assertWhole(copy: string): Promise<void> {
    const args = ['verify', '--read-data', '--identity', identity, '--copy', copy];
    const answer = await helvinoJson(args, here());
    assert.deepEqual([answer.status, answer.result?.verdict], [0, 'passed'], JSON.stringify(answer));
  }

  const statesOf = (answer: JsonAnswer) => {
    const states = (answer.result?.copies ?? []) as { name: string; state: string }[];
    return states.map(({ name, state }) => [name, state]);
  };
  const all = (state: string) => copies.map((name) => [name, state]);

  test('backup while there are no copies yet – complete, exit 1, and says which lack it', async () => {
    const answer = await helvinoJson(['backup'], here());
    assert.equal(answer.status, 1, JSON.stringify(answer));
    assert.deepEqual(statesOf(answer), all('behind'));
    assert.equal((await idsIn('main')).length, 1);
  });

  test('copy – first shown, then made: backups, keys and WAL are there and every byte is good', async () => {
    const plan = await helvino(['copy', '--dry-run'], here());
    assert.match(plan.stdout, /second lacks 1 backup.*to be made/);
    const outcome = await helvino(['copy'], here());
    assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
    for (const copy of copies) {
      assert.deepEqual(await idsIn(copy), await idsIn('main'));
      await assertWhole(copy);
    }
    const again = await helvinoJson(['copy'], here());
    const reports = again.result?.copies as { report: { objects: number } }[];
    assert.deepEqual(
      reports.map(({ report }) => report.objects),
      copies.map(() => 0),
    );
  });

  test('incremental backup – read once, stored in every copy at once, each of which a drill proves', async () => {
    await sql('update shop set name = upper(name) where id % 50 = 0');
    const answer = await helvinoJson(['backup'], here());
    assert.deepEqual([answer.status, answer.result?.kind], [0, 'incremental'], JSON.stringify(answer));
    assert.deepEqual(statesOf(answer), all('current'));
    for (const copy of copies) {
      assert.deepEqual(await idsIn(copy), await idsIn('main'));
      await assertWhole(copy);
    }
    const last = copies.at(-1)!;
    const drill = await helvino(['drill', '--identity', identity, '--copy', last], here());
    assert.equal(drill.status, 0, drill.stdout + drill.stderr);
    // Each copy has its own state.
    const proofs = async (copy: string) =>
      (await helvino(['list', '--copy', copy], here())).stdout.match(/proven on \d{4}-/g)?.length ?? 0;
    assert.deepEqual([await proofs(last), await proofs('main')], [1, 0]);
  });

  test('a copy that is away during a backup – left behind, gets no backup without its parent, and copy brings both', async () => {
    await rename(join(home, 'second'), join(home, 'away'));
    const missed = await helvinoJson(['backup'], here());
    assert.equal(missed.status, 1, JSON.stringify(missed));
    await rename(join(home, 'away'), join(home, 'second'));
    const next = await helvinoJson(['backup'], here());
    const [second] = (next.result?.copies ?? []) as { state: string; why: string }[];
    assert.equal(second?.state, 'behind');
    assert.match(second?.why ?? '', /lacks the backup/);
    assert.equal((await idsIn('second')).length, 2);
    const outcome = await helvinoJson(['copy', 'second'], here());
    assert.equal(outcome.status, 0, JSON.stringify(outcome));
    assert.deepEqual(await idsIn('second'), await idsIn('main'));
    await assertWhole('second');
  });

  test('wal stream – WAL goes to every copy', async () => {
    const stop = new AbortController();
    const stream = helvino(['wal', 'stream', '--every', '100ms'], { ...here(), signal: stop.signal });
    await sql('insert into shop values (777777)');
    const pieces = async (copy: string) =>
      Number((await helvinoJson(['wal', 'status', '--copy', copy, '--no-server'], here())).result?.pieces);
    for (let n = 0; n < 100 && (await pieces('second')) === 0; n++) await sleep(200);
    stop.abort();
    assert.equal((await stream).status, 0);
    for (const copy of copies) assert.equal(await pieces(copy), await pieces('main'));
    assert.ok((await pieces('second')) > 0);
    // Without --copy: the windows of each.
    const shown = await helvinoJson(['wal', 'status', '--no-server'], here());
    const { windows, copies: others } = shown.result as {
      windows: unknown[];
      copies: { repository: string; status?: { windows: unknown[] } }[];
    };
    assert.deepEqual([shown.status, windows.length > 0], [0, true], JSON.stringify(shown));
    assert.deepEqual(
      others.map(({ repository, status }) => ({ repository, windows: status?.windows })),
      copies.map((repository) => ({ repository, windows })),
    );
  });

  test('heal – a changed pack, a lost manifest and a lost key come back from another copy', async () => {
    const folder = join(home, 'main');
    const pack = (await filesBelow(join(folder, 'packs'))).sort((a, b) => b.size - a.size)[0]!.path;
    const bytes = await readFile(pack);
    bytes[1000]! ^= 1;
    await writeFile(pack, bytes);
    const [manifest] = await filesBelow(join(folder, 'backups'));
    await rm(manifest!.path);
    await rm((await filesBelow(join(folder, 'keys', 'data')))[0]!.path);

    const shown = await helvino(['heal', '--dry-run'], here());
    assert.equal(shown.status, 1);
    assert.equal(shown.stdout.match(/^DAMAGED/gm)?.length, 3, shown.stdout);
    assert.equal((await helvinoJson(['heal'], here())).error?.code, 'CONFIRMATION_NEEDED');
    const healed = await helvino(['heal', '--confirm', 'main'], here());
    assert.equal(healed.status, 0, healed.stdout + healed.stderr);
    assert.match(healed.stdout, /passed: 3 objects of main mended from second/);
    await assertWhole('main');
    assert.match((await helvino(['heal', '--copy', 'second'], here())).stdout, /second is whole/);
  });

  test('key add and key remove – in every copy at once; refused while one is away', async () => {
    const outsider = await helvinoJson(['key', 'new', '--output', 'second-identity.txt'], here());
    const recipient = String(outsider.result?.recipient);
    await rename(join(home, 'second'), join(home, 'away'));
    const refused = await helvinoJson(['key', 'add', recipient, '--identity', identity], here());
    await rename(join(home, 'away'), join(home, 'second'));
    assert.equal(refused.error?.code, 'STORAGE_UNAVAILABLE', JSON.stringify(refused));
    const opens = async (copy: string) =>
      (await helvino(['verify', '--identity', 'second-identity.txt', '--copy', copy], here())).status === 0;
    const added = await helvino(['key', 'add', recipient, '--identity', identity], here());
    assert.equal(added.status, 0, added.stdout + added.stderr);
    for (const copy of ['main', ...copies]) assert.equal(await opens(copy), true, copy);
    const args = ['key', 'remove', recipient, '--confirm', recipient, '--identity', identity];
    const removed = await helvino(args, here());
    assert.equal(removed.status, 0, removed.stdout + removed.stderr);
    for (const copy of ['main', ...copies]) assert.equal(await opens(copy), false, copy);
    await assertWhole('second');
  });

  test('copy from a damaged source – what is damaged is not copied, all else is, exit 1', async () => {
    await rm(join(home, 'second'), { recursive: true });
    const pack = (await filesBelow(join(home, 'main', 'packs'))).sort((a, b) => b.size - a.size)[0]!.path;
    const good = await readFile(pack);
    const bad = Buffer.from(good);
    bad[1000]! ^= 1;
    await writeFile(pack, bad);
    const outcome = await helvino(['copy', 'second'], here());
    await writeFile(pack, good);
    assert.equal(outcome.status, 1);
    assert.match(outcome.stdout, /was NOT copied: packs\/\S+ is damaged/);
    await assertWhole('second');
    assert.equal((await helvino(['copy', 'second'], here())).status, 0);
    assert.deepEqual(await idsIn('second'), await idsIn('main'));
  });

  test('removed from one copy on purpose – copy does not bring it back, and says so; --again does', async () => {
    const [oldest] = await idsIn('main');
    const confirm = ['--confirm', oldest!, '--copy', 'second'];
    assert.equal((await helvino(['remove', oldest!, ...confirm], here())).status, 0);
    const plan = await helvinoJson(['copy', 'second', '--dry-run'], here());
    const [shown] = (plan.result?.copies ?? []) as { plan: { backups: string[]; removed: string[] } }[];
    assert.deepEqual([shown?.plan.backups, shown?.plan.removed], [[], [oldest]], JSON.stringify(plan));
    const outcome = await helvino(['copy', 'second'], here());
    assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
    assert.match(outcome.stdout, /1 backup of the source not brought: removed from the copy before/);
    assert.equal((await idsIn('second')).includes(oldest!), false);
    assert.equal((await helvino(['copy', 'second', '--again'], here())).status, 0);
    assert.deepEqual(await idsIn('second'), await idsIn('main'));
    await assertWhole('second');
  });

  test('a hold that was put while a copy was away – copy brings it', async () => {
    const [oldest] = await idsIn('main');
    await rename(join(home, 'second'), join(home, 'away'));
    await helvino(['hold', 'add', oldest!, '--reason', 'case 4711'], here());
    await rename(join(home, 'away'), join(home, 'second'));
    const confirm = ['--confirm', oldest!, '--copy', 'second'];
    assert.equal((await helvino(['copy', 'second'], here())).status, 0);
    const refused = await helvinoJson(['remove', oldest!, ...confirm], here());
    assert.equal(refused.error?.code, 'BACKUP_HELD', JSON.stringify(refused));
    assert.match(refused.error?.message ?? '', /case 4711/);
  });

  test('a hold that was lifted while a copy was away – copy lifts it there, and does not bring it back', async () => {
    const [oldest] = await idsIn('main');
    const added = await helvinoJson(['hold', 'add', oldest!, '--reason', 'case 4712'], here());
    const id = String(added.result?.id);
    await rename(join(home, 'second'), join(home, 'away'));
    await helvino(['hold', 'remove', id, '--confirm', id], here());
    await rename(join(home, 'away'), join(home, 'second'));
    const held = async (copy: string) => (await helvino(['hold', 'list', '--copy', copy], here())).stdout;
    assert.match(await held('second'), /4712/);
    assert.equal((await helvino(['copy', 'main', '--from', 'second'], here())).status, 0);
    assert.doesNotMatch(await held('main'), /4712/);
    assert.equal((await helvino(['copy', 'second'], here())).status, 0);
    assert.doesNotMatch(await held('second'), /4712/);
    assert.match(await held('second'), /4711/);
  });

  test('a hold and a result of verify are damaged – verify names both, heal mends the one and drops the other', async () => {
    for (const folder of ['holds', 'verifications']) {
      const [file] = await filesBelow(join(home, 'second', folder));
      const bytes = await readFile(file!.path);
      bytes[bytes.length - 1]! ^= 1;
      await writeFile(file!.path, bytes);
    }
    const found = await helvinoJson(['verify', '--copy', 'second'], here());
    const others = (found.result?.others ?? []) as { object: string }[];
    assert.equal(found.result?.verdict, 'failed', JSON.stringify(found));
    assert.deepEqual(others.map(({ object }) => object.split('/')[0]).sort(), ['holds', 'verifications']);
    const healed = await helvino(['heal', '--copy', 'second', '--confirm', 'second'], here());
    assert.equal(healed.status, 0, healed.stdout + healed.stderr);
    await assertWhole('second');
  });
}

async function filesBelow(folder: string): Promise<{ path: string; size: number }[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => {
        const path = join(entry.parentPath, entry.name);
        return { path, size: (await stat(path)).size };
      }),
  );
}
