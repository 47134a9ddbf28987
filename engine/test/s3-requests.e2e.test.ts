/** What a cold restore asks of a store: each request is paid for, and takes its time. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import pg from 'pg';
import { S3Proxy } from '../src/storage/testing/s3-proxy.ts';
import { type S3TestServer, startS3Server } from '../src/storage/testing/s3-server.ts';
import { helvino, helvinoJson } from './cli.ts';
import { serverFolder, startTestServer, type TestServer } from './pg-server.ts';

const s3 = await startS3Server();

if (typeof s3 === 'string') test('requests of a restore', { skip: s3 }, () => undefined);
else describe('requests of a restore', { concurrency: 1 }, () => registerTests(s3));

const mib = 1 << 20;

function registerTests(store: S3TestServer): void {
  let server: TestServer;
  let proxy: S3Proxy;
  let home: string;
  let bucket: string;
  let requests: string[] = [];
  const identity = 'helvino-recovery-identity.txt';
  const env = { AWS_ACCESS_KEY_ID: 'root-key', AWS_SECRET_ACCESS_KEY: 'root-secret' };
  const placeOf = (endpoint: string) =>
    `s3://${bucket}/pg?region=default&endpoint=${endpoint}&pathStyle=true`;

  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'hv-requests-'));
    bucket = await store.bucket();
    proxy = await S3Proxy.start(store.endpoint);
    proxy.fate = ({ method, url }) => {
      requests.push(`${method} ${decodeURIComponent(url)}`);
      return { kind: 'pass' };
    };
    server = await startTestServer({ major: 18, config: { summarize_wal: 'on' } });
    // Hashes: what is stored is as large as what is there.
    await sql(
      `create table bulk as select i as id, ${hashes(20)} as noise from generate_series(1, 300000) i`,
    );
  });

  after(async () => {
    await proxy.stop();
    store.stop();
    await server[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  });

  async function sql(text: string): Promise<void> {
    const client = new pg.Client(server.url);
    await client.connect();
    await client.query(text);
    await client.end();
  }

  /** Restores on a machine that knows nothing but place and identity. Returns what it asked for. */
  async function coldRestore(): Promise<string[]> {
    const folder = await serverFolder('hv-requests-restored-');
    try {
      requests = [];
      const args = [
        'restore',
        '--repository-path',
        placeOf(proxy.endpoint),
        '--identity',
        join(home, identity),
      ];
      const outcome = await helvino([...args, '--to-directory', join(folder, 'data')], {
        cwd: tmpdir(),
        env,
      });
      assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
      return requests;
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async function backup(...words: string[]): Promise<{ id: string; bytes: number }> {
    const answer = await helvinoJson(['backup', ...words], { cwd: home, env });
    assert.equal(answer.status, 0, JSON.stringify(answer));
    const { id, totals } = answer.result as { id: string; totals: { referenced: number } };
    return { id, bytes: totals.referenced };
  }

  test('a full backup – restored with at most one request for each 8 MiB, all told', async () => {
    const made = await helvino(
      ['init', '--url', server.url, '--path', placeOf(store.endpoint), '--no-check'],
      { cwd: home, env },
    );
    assert.equal(made.status, 0, made.stdout + made.stderr);
    const { bytes } = await backup();
    assert.ok(bytes > 180 * mib, `${bytes}`);
    const asked = await coldRestore();
    assert.ok(asked.length <= bytes / (8 * mib), `${asked.length} for ${bytes} bytes:\n${asked.join('\n')}`);
  });

  /** Requests besides packs and data keys: descriptor, catalog key and where it is, backups, manifest. */
  const fixed = 5;

  test('incremental backups – one for each 8 MiB, one for each data key, and five', async () => {
    let bytes = 0;
    for (let n = 1; n <= 3; n++) {
      await sql(`update bulk set noise = ${hashes(19).replaceAll('i::', 'id::')} where id % 4000 = ${n}`);
      bytes = (await backup()).bytes;
    }
    const asked = await coldRestore();
    const packs = asked.filter((request) => request.includes('/packs/'));
    const keys = asked.filter((request) => request.includes('/keys/data/'));
    const said = `${packs.length} for ${bytes} bytes:\n${asked.join('\n')}`;
    assert.ok(packs.length <= bytes / (8 * mib), said);
    // The full backup and each incremental have one.
    assert.equal(keys.length, 4, said);
    assert.equal(asked.length, packs.length + keys.length + fixed, said);
  });

  test('a bucket that holds much more – nothing is listed but backups and keys, and no more is asked', async () => {
    const before = (await coldRestore()).length;
    const put = (Key: string) => store.client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: 'x' }));
    // More than a page of a list has, in places that grow with age: packs of others, marks, WAL of another database.
    for (let n = 0; n < 1200; n += 40)
      await Promise.all(
        Array.from({ length: 40 }, (_, i) => {
          const id = (n + i).toString(16).padStart(32, '0');
          return Promise.all([
            put(`pg/packs/${id.slice(-2)}/${id}`),
            put(`pg/trash/${id}`),
            put(`other/${id}`),
          ]);
        }),
      );
    const asked = await coldRestore();
    assert.equal(asked.length, before, asked.join('\n'));
    const listed = asked.flatMap((request) => /[?&]prefix=([^&]*)/.exec(request)?.[1] ?? []);
    assert.ok(listed.length > 0);
    for (const prefix of listed)
      assert.match(prefix, /^pg\/(backups|keys\/(data|catalog)|wal\/main)\//, prefix);
  });
}

/** So many hashes of 32 bytes in a row, other ones for other numbers. */
function hashes(count: number): string {
  return Array.from(
    { length: count },
    (_, n) => `sha256((i::bigint * ${n + 1000} + ${n})::text::bytea)`,
  ).join(' || ');
}
