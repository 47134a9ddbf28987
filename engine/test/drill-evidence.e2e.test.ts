/** Evidence from a real drill to what an auditor does with it, through the command line. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { access, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import pg from 'pg';
import { helvino, helvinoJson } from './cli.ts';
import { startTestServer, type TestServer } from './pg-server.ts';

const run = promisify(execFile);
let server: TestServer;
let home: string;
/** A host of an auditor: no configuration, no repository, only files. */
let audit: string;
let record: string;

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'hv-evidence-'));
  audit = await mkdtemp(join(tmpdir(), 'hv-audit-'));
  server = await startTestServer({ major: 18, config: { summarize_wal: 'on' } });
  await sql('create table shop (id int primary key); insert into shop select generate_series(1, 1000)');
  for (const args of [['init', '--url', server.url, '--path', 'repository'], ['backup']]) await good(args);
  await good(['drill', '--identity', 'helvino-recovery-identity.txt', '--no-fetch']);
});

after(async () => {
  await server[Symbol.asyncDispose]();
  for (const folder of [home, audit]) await rm(folder, { recursive: true, force: true });
});

async function sql(text: string): Promise<void> {
  const client = new pg.Client(server.url);
  await client.connect();
  await client.query(text);
  await client.end();
}

const here = () => ({ cwd: home });

async function good(args: readonly string[]): Promise<string> {
  const outcome = await helvino(args, here());
  assert.equal(outcome.status, 0, `${args.join(' ')}: ${outcome.stdout}${outcome.stderr}`);
  return outcome.stdout;
}

test('drill list – the drill is signed with the key that init made', async () => {
  const answer = await helvinoJson(['drill', 'list'], here());
  const [drill, ...more] = answer.result!.drills as { verdict: string; signature: string; sha256: string }[];
  assert.deepEqual([more, drill!.verdict, drill!.signature], [[], 'proven', 'good']);
  assert.match(await good(['drill', 'list']), /proven .* signed {2}backup /);
});

test('drill report – record, signature, page and text; a PDF where Chromium is', async () => {
  await good(['drill', 'report', '--output', 'out']);
  const files = (await readdir(join(home, 'out'))).sort();
  const chromium = await run('sh', ['-c', 'command -v chromium || command -v google-chrome']).then(
    () => true,
    () => false,
  );
  const endings = ['html', 'json', 'md', ...(chromium ? ['pdf'] : []), 'sig'];
  assert.deepEqual(files.map((name) => name.slice(name.lastIndexOf('.') + 1)).sort(), endings);
  record = files.find((name) => name.endsWith('.json'))!;
  const text = await readFile(join(home, 'out', record), 'utf8');
  const { sha256 } = (await helvinoJson(['drill', 'report', '--output', 'again', '--format', 'json'], here()))
    .result as { sha256: string };
  for (const name of files.filter((one) => /\.(html|md)$/.test(one)))
    assert.ok((await readFile(join(home, 'out', name), 'utf8')).includes(sha256), name);
  assert.equal(await readFile(join(home, 'again', record), 'utf8'), text);
  await access(join(home, 'again', record.replace('json', 'sig')));
  if (chromium)
    assert.equal(
      (await readFile(join(home, 'out', record.replace('json', 'pdf')))).toString('latin1', 0, 5),
      '%PDF-',
    );
});

test('a PDF that was asked for, without Chromium – an error that says what to do', async () => {
  const answer = await helvinoJson(['drill', 'report', '--output', 'pdf', '--format', 'pdf'], {
    ...here(),
    env: { PATH: '/nowhere' },
  });
  assert.equal(answer.error?.code, 'BINARIES_NOT_FOUND');
  assert.match(answer.error?.hint ?? '', /print the HTML/);
});

test('an auditor with record, signature and public key – verifies offline, by Helvino and by OpenSSL alone', async () => {
  await good(['drill', 'key', '--output', join(audit, 'drill-key.pem')]);
  const signature = record.replace('.json', '.sig');
  for (const name of [record, signature])
    await writeFile(join(audit, name), await readFile(join(home, 'out', name)));
  const verified = await helvino(['drill', 'verify-report', record, '--key', 'drill-key.pem'], {
    cwd: audit,
  });
  assert.equal(verified.status, 0, verified.stderr);
  assert.match(verified.stdout, /^valid .*\n.*\n.*\n.*\nverdict {4}proven/);
  const openssl = [
    'pkeyutl',
    '-verify',
    '-pubin',
    '-inkey',
    'drill-key.pem',
    '-rawin',
    '-in',
    record,
    '-sigfile',
    signature,
  ];
  assert.match((await run('openssl', openssl, { cwd: audit })).stdout, /Verified Successfully/);
});

test('the record with one word changed – refused by both', async () => {
  const signature = record.replace('.json', '.sig');
  const text = await readFile(join(audit, record), 'utf8');
  await writeFile(join(audit, 'forged.json'), text.replace('"state":"passed"', '"state":"failed"'));
  const answer = await helvinoJson(
    ['drill', 'verify-report', 'forged.json', '--signature', signature, '--key', 'drill-key.pem'],
    { cwd: audit },
  );
  assert.deepEqual([answer.status, answer.error?.code], [65, 'REPOSITORY_DAMAGED']);
  const openssl = [
    'pkeyutl',
    '-verify',
    '-pubin',
    '-inkey',
    'drill-key.pem',
    '-rawin',
    '-in',
    'forged.json',
    '-sigfile',
    signature,
  ];
  await assert.rejects(run('openssl', openssl, { cwd: audit }));
});

test('verification without a key, of a page, with the private key – told what is wrong', async () => {
  const ask = async (...args: string[]) =>
    (await helvinoJson(['drill', 'verify-report', ...args], { cwd: audit })).error;
  assert.match((await ask(record))?.message ?? '', /cannot vouch for itself/);
  assert.match((await ask('x.html', '--key', 'drill-key.pem'))?.hint ?? '', /give the \.json/);
  const secret = join(home, 'helvino.drill.key');
  assert.match((await ask(record, '--key', secret))?.message ?? '', /is a private key/);
});

test('drill evidence – one file, the same bytes again, verified offline; changed or cut it is refused', async () => {
  const today = new Date().toISOString().slice(0, 10);
  // A moment that has passed: what is there until now cannot change any more.
  const to = new Date(Math.floor(Date.now() / 1000) * 1000).toISOString();
  const args = ['drill', 'evidence', '--from', `${today}T00:00:00Z`, '--to', to];
  assert.match(await good([...args, '--output', 'one.tar.gz']), /1 drill, 1 backup\nnothing is open/);
  await good([...args, '--output', 'two.tar.gz']);
  const bytes = await readFile(join(home, 'one.tar.gz'));
  assert.deepEqual(await readFile(join(home, 'two.tar.gz')), bytes);
  await writeFile(join(audit, 'e.tar.gz'), bytes);
  const verify = () =>
    helvinoJson(['drill', 'verify-report', 'e.tar.gz', '--key', 'drill-key.pem'], { cwd: audit });
  assert.deepEqual([(await verify()).status, (await verify()).result?.valid], [0, true]);
  await run('tar', ['xzf', 'e.tar.gz', '--strip-components=1'], { cwd: audit });
  await run('sha256sum', ['--check', '--strict', 'SHA256SUMS'], { cwd: audit });
  const openssl = [
    'pkeyutl',
    '-verify',
    '-pubin',
    '-inkey',
    'drill-key.pem',
    '-rawin',
    '-in',
    'SHA256SUMS',
    '-sigfile',
    'SHA256SUMS.sig',
  ];
  assert.match((await run('openssl', openssl, { cwd: audit })).stdout, /Verified Successfully/);
  await writeFile(join(audit, 'e.tar.gz'), bytes.subarray(0, bytes.length - 9));
  assert.deepEqual([(await verify()).status, (await verify()).error?.code], [65, 'REPOSITORY_DAMAGED']);
  const again = await helvinoJson([...args, '--output', 'one.tar.gz'], here());
  assert.equal(again.error?.code, 'TARGET_IO');
});

test('drill predict – of another size, over a slow network', async () => {
  assert.match(await good(['drill', 'predict']), /recovery takes {2}about .*\nbetween +not known/);
  const args = ['drill', 'predict', '--size', '1TiB', '--bandwidth', '10 MiB/s'];
  const slow = (await helvinoJson(args, here())).result as { rtoSeconds: number; stored: number };
  assert.ok(slow.rtoSeconds >= slow.stored / (10 * 2 ** 20));
});

test('a new table since the drill – the proof is stale: list, show, status, health and doctor say why', async () => {
  await sql('create table added (id int)');
  await good(['backup']);
  const words = /stale because the schema changed since/;
  assert.match(await good(['list']), words);
  const id = ((await helvinoJson(['list'], here())).result!.backups as { id: string }[])[0]!.id;
  assert.match(await good(['show', id]), words);
  assert.match(await good(['status']), words);
  const health = await helvinoJson(['health'], here());
  const [database] = health.result!.databases as { proofs: { state: string; reasons: string[] }[] }[];
  assert.deepEqual(
    [database!.proofs[0]!.state, database!.proofs[0]!.reasons],
    ['stale', ['the schema changed since']],
  );
  assert.match((await helvino(['doctor'], here())).stdout, words);
});

test('another recipient since the drill – the keys changed', async () => {
  const { recipient } = (await helvinoJson(['key', 'new'], here())).result as { recipient: string };
  await good(['key', 'add', recipient, '--future-only']);
  assert.match(await good(['list']), /the keys changed since/);
});

test('the report of an earlier drill is damaged – named, exit 1; the others are listed, written and bundled', async () => {
  const [name] = await readdir(join(home, 'repository', 'evidence', 'reports', 'main'));
  const earlier = '20260101T000000Z-00000000';
  const bytes = await readFile(join(home, 'repository', 'evidence', 'reports', 'main', name!));
  await writeFile(join(home, 'repository', 'evidence', 'reports', 'main', earlier), bytes);
  const listed = await helvinoJson(['drill', 'list'], here());
  const { drills, damaged } = listed.result as { drills: unknown[]; damaged: string[] };
  assert.deepEqual([listed.status, drills.length, damaged.length], [1, 1, 1]);
  assert.match(damaged[0]!, new RegExp(earlier));
  const text = await helvino(['drill', 'list'], here());
  assert.match(text.stdout, /proven [\s\S]*CANNOT BE READ: .*20260101T000000Z/);
  await good(['drill', 'report', '--format', 'json', '--output', 'beside']);
  const args = ['drill', 'evidence', '--from', '2026-01-01T00:00:00Z', '--output', 'beside.tar.gz'];
  assert.match(
    (await helvino(args, here())).stdout,
    /a report of a drill cannot be read: .*20260101T000000Z/,
  );
});
