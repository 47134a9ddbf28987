import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { HeadObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import pg from 'pg';
import { type S3TestServer, startS3Server } from '../src/storage/testing/s3-server.ts';
import { helvino, helvinoJson } from './cli.ts';
import { serverFolder, startTestServer, type TestServer } from './pg-server.ts';

const s3 = await startS3Server();

if (typeof s3 === 'string') test('a repository on S3', { skip: s3 }, () => undefined);
else describe('a repository on S3', { concurrency: 1 }, () => registerTests(s3));

function registerTests(store: S3TestServer): void {
  let server: TestServer;
  let home: string;
  let place: string;
  let bucket: string;
  const identity = 'helvino-recovery-identity.txt';
  const env = { AWS_ACCESS_KEY_ID: 'root-key', AWS_SECRET_ACCESS_KEY: 'root-secret' };
  const here = () => ({ cwd: home, env });

  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'hv-s3-cli-'));
    bucket = await store.bucket();
    place = `s3://${bucket}/pg/main?region=default&endpoint=${store.endpoint}&pathStyle=true`;
    server = await startTestServer({ templates: true, major: 18, config: { summarize_wal: 'on' } });
    await sql('create table shop (id int primary key); insert into shop select generate_series(1, 5000)');
  });

  const folders: string[] = [];

  after(async () => {
    for (const folder of folders) await rm(folder, { recursive: true, force: true });
    store.stop();
    await server[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  });

  async function sql(text: string, url = server.url): Promise<pg.QueryResult> {
    const client = new pg.Client(url);
    await client.connect();
    try {
      return await client.query(text);
    } finally {
      await client.end();
    }
  }

  async function restoredFolder(): Promise<string> {
    const folder = await serverFolder('hv-s3-restored-');
    folders.push(folder);
    return folder;
  }

  test('init – the place is in helvino.yaml, no key is', async () => {
    const outcome = await helvino(['init', '--url', server.url, '--path', place], here());
    assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
    const config = await readFile(join(home, 'helvino.yaml'), 'utf8');
    assert.match(config, new RegExp(`type: s3, bucket: "${bucket}", prefix: "pg/main", region: "default"`));
    assert.doesNotMatch(config, /root-/);
    const doctor = await helvino(['doctor'], here());
    assert.equal(doctor.status, 0);
    assert.match(doctor.stdout, /advice +stolen credentials: .* could delete and overwrite what is stored/);
  });

  test('backups, full then incremental – all objects are below the prefix', async () => {
    assert.equal((await helvinoJson(['backup'], here())).result?.kind, 'full');
    await sql('update shop set id = id + 100000 where id % 100 = 0');
    assert.equal((await helvinoJson(['backup'], here())).result?.kind, 'incremental');
    const { Contents = [] } = await store.client.send(new ListObjectsV2Command({ Bucket: bucket }));
    const foreign = Contents.filter(({ Key }) => !Key?.startsWith('pg/main/'));
    assert.ok(Contents.length > 5);
    assert.deepEqual(foreign, []);
  });

  test('wal stream, then restore to the latest state from the bucket alone – every row is there', async () => {
    const stop = new AbortController();
    const stream = helvino(['wal', 'stream', '--every', '200ms'], { ...here(), signal: stop.signal });
    await sql('insert into shop values (777777)');
    const { rows } = await sql('select pg_current_wal_flush_lsn()::text as lsn');
    for (let n = 0; n < 300; n++) {
      const status = await helvinoJson(['wal', 'status'], here());
      const ranges = (status.result?.ranges ?? []) as { to: string }[];
      if (ranges.some(({ to }) => position(to) >= position(rows[0].lsn))) break;
      await sleep(200);
    }
    stop.abort();
    const ended = await stream;
    assert.match(ended.stdout, /stopped; WAL is stored up to/, ended.stderr);

    const data = join(await restoredFolder(), 'data');
    const args = ['restore', '--repository-path', place, '-d', 'main', '--to', 'latest'];
    const outcome = await helvino([...args, '--to-directory', data, '--identity', join(home, identity)], {
      cwd: tmpdir(),
      env,
    });
    assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
    await using copy = await startTestServer({ major: 18, dataDir: data });
    const found = await sql('select count(*)::int as n, max(id) as max from shop', copy.url);
    assert.deepEqual(found.rows, [{ n: 5001, max: 777777 }]);
  });

  test('drill, verify, remove and collect – as on a disk', async () => {
    const drill = await helvino(['drill', '--identity', identity], here());
    assert.equal(drill.status, 0, drill.stdout + drill.stderr);
    const verify = await helvinoJson(['verify', '--read-data', '--identity', identity], here());
    assert.deepEqual([verify.status, verify.result?.verdict], [0, 'passed']);
    await sql('insert into shop select generate_series(200000, 250000)');
    const third = String((await helvinoJson(['backup'], here())).result?.id);
    const removed = await helvinoJson(['remove', third, '--confirm', third], here());
    assert.equal(removed.status, 0, JSON.stringify(removed));
    await helvinoJson(['collect', '--apply', '--grace', '0s'], here());
    // The store's clock has whole seconds.
    await sleep(1100);
    const collect = await helvinoJson(['collect', '--apply', '--grace', '0s'], here());
    assert.equal(collect.status, 0, JSON.stringify(collect));
    const packs = (collect.result?.removed ?? []) as unknown[];
    assert.ok(packs.length > 0, JSON.stringify(collect));
  });

  test('a profile, a storage class, encryption by a key of KMS – objects are stored so, and read back', async () => {
    const config = join(home, 'aws-credentials');
    await writeFile(config, '[keeper]\naws_access_key_id = root-key\naws_secret_access_key = root-secret\n');
    const file = join(home, 'helvino.yaml');
    const text = await readFile(file, 'utf8');
    const more =
      'profile: keeper, storageClass: { packs: STANDARD_IA }, encryption: { type: "aws:kms", keyId: k1 }';
    await writeFile(file, text.replace(/^( {4}storage: \{.*) \}$/m, `$1, ${more} }`));
    const env = { AWS_SHARED_CREDENTIALS_FILE: config };
    const answer = await helvinoJson(['backup'], { cwd: home, env });
    await writeFile(file, text);
    assert.equal(answer.status, 0, JSON.stringify(answer));
    const manifest = `pg/main/backups/main/${answer.result?.id}`;
    const head = (Key: string) => store.client.send(new HeadObjectCommand({ Bucket: bucket, Key }));
    const facts = await head(manifest);
    assert.deepEqual([facts.ServerSideEncryption, facts.SSEKMSKeyId], ['aws:kms', 'k1']);
    const { Contents = [] } = await store.client.send(
      new ListObjectsV2Command({ Bucket: bucket, Prefix: 'pg/main/packs/' }),
    );
    const newest = Contents.toSorted((a, b) => Number(b.LastModified) - Number(a.LastModified))[0];
    assert.equal((await head(newest?.Key ?? '')).StorageClass, 'STANDARD_IA');
  });

  test('a host whose clock is two hours ahead – doctor says so; its backup is whole, and the next one is the latest', async () => {
    const preload = fileURLToPath(new URL('./clock-preload.ts', import.meta.url));
    const wrong = { HELVINO_TEST_SKEW: String(2 * 3600_000), NODE_OPTIONS: `--import ${preload}` };
    const there = { cwd: home, env: { ...env, ...wrong } };
    const doctor = await helvino(['doctor'], there);
    assert.match(doctor.stdout, /advice +clock: this host is 2 h.* ahead of the store/, doctor.stdout);
    assert.match((await helvino(['doctor'], here())).stdout, /good +clock/);
    const skewed = await helvinoJson(['backup'], there);
    assert.equal(skewed.status, 0, JSON.stringify(skewed));
    const next = await helvinoJson(['backup'], here());
    const shown = await helvinoJson(['show', 'latest'], here());
    assert.deepEqual([next.status, shown.result?.id], [0, next.result?.id], JSON.stringify([skewed, next]));
    assert.equal((await helvinoJson(['verify'], here())).result?.verdict, 'passed');
  });

  test('wrong keys, a bucket that is not there, a store that is away – each is named, nothing is taken for absent', async () => {
    const wrong = await helvinoJson(['list'], { cwd: home, env: { ...env, AWS_SECRET_ACCESS_KEY: 'no' } });
    assert.deepEqual([wrong.status, wrong.error?.code], [77, 'STORAGE_DENIED']);
    const readOf = (at: string) => helvinoJson(['list', '--repository-path', at, '-i', identity], here());
    const gone = await readOf(place.replace(bucket, 'nowhere'));
    assert.deepEqual([gone.status, gone.error?.code], [75, 'STORAGE_UNAVAILABLE']);
    assert.match(gone.error?.message ?? '', /NoSuchBucket/);
    const away = await readOf(place.replace(store.endpoint, 'http://127.0.0.1:1'));
    assert.deepEqual([away.status, away.error?.code], [75, 'STORAGE_UNAVAILABLE']);
    const empty = await readOf(place.replace('/pg/main', '/pg/other'));
    assert.equal(empty.error?.code, 'REPOSITORY_NOT_FOUND');
  });
}

function position(lsn: string): bigint {
  const [high, low] = lsn.split('/').map((part) => BigInt(`0x${part}`));
  return (high! << 32n) + low!;
}
