import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  GetBucketLifecycleConfigurationCommand,
  ListObjectsV2Command,
  PutBucketLifecycleConfigurationCommand,
} from '@aws-sdk/client-s3';
import { S3Proxy, s3Refusal } from '../src/storage/testing/s3-proxy.ts';
import { type S3TestServer, startS3Server } from '../src/storage/testing/s3-server.ts';
import { helvino, helvinoJson } from './cli.ts';
import { serverFolder, startTestServer, type TestServer } from './pg-server.ts';

const s3 = await startS3Server();

if (typeof s3 === 'string') test('archive classes', { skip: s3 }, () => undefined);
else describe('archive classes', { concurrency: 1 }, () => registerTests(s3));

/** Ceph reads objects of any class at once: the proxy makes packs behave as in GLACIER until they have been asked for. */
function registerTests(store: S3TestServer): void {
  let server: TestServer;
  let proxy: S3Proxy;
  let home: string;
  let bucket: string;
  const identity = 'helvino-recovery-identity.txt';
  const env = { AWS_ACCESS_KEY_ID: 'root-key', AWS_SECRET_ACCESS_KEY: 'root-secret' };
  const here = () => ({ cwd: home, env });

  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'hv-archive-'));
    bucket = await store.bucket();
    proxy = await S3Proxy.start(store.endpoint);
    server = await startTestServer({ major: 18 });
    const place = `s3://${bucket}/pg?region=default&endpoint=${proxy.endpoint}&pathStyle=true`;
    const made = await helvino(['init', '--url', server.url, '--path', place, '--no-check'], here());
    assert.equal(made.status, 0, made.stderr);
    assert.equal((await helvino(['backup'], here())).status, 0);
  });

  const folders: string[] = [];

  after(async () => {
    for (const folder of folders) await rm(folder, { recursive: true, force: true });
    await proxy.stop();
    store.stop();
    await server[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  });

  async function restoredFolder(): Promise<string> {
    const folder = await serverFolder('hv-thawed-');
    folders.push(folder);
    return folder;
  }

  test('lifecycle – the plan says why; apply sets our rules, keeps those of others, and changes nothing the second time', async () => {
    const rule = {
      ID: 'theirs',
      Status: 'Enabled' as const,
      Filter: { Prefix: 'logs/' },
      Expiration: { Days: 9 },
    };
    await store.client.send(
      new PutBucketLifecycleConfigurationCommand({
        Bucket: bucket,
        LifecycleConfiguration: { Rules: [rule] },
      }),
    );
    const plan = await helvino(['lifecycle', 'plan'], here());
    assert.equal(plan.status, 0, plan.stderr);
    assert.match(plan.stdout, /no +it is recent/);
    assert.match(plan.stdout, /0 packs, 0 B, may be archived/);
    const applied = await helvinoJson(['lifecycle', 'apply'], here());
    assert.deepEqual([applied.status, applied.result?.rulesChanged], [0, true], JSON.stringify(applied));
    const { Rules = [] } = await store.client.send(
      new GetBucketLifecycleConfigurationCommand({ Bucket: bucket }),
    );
    assert.deepEqual(Rules.map(({ ID }) => ID).sort(), [
      'helvino-archive-pg',
      'helvino-unfinished-pg',
      'theirs',
    ]);
    const archive = Rules.find(({ ID }) => ID === 'helvino-archive-pg');
    assert.deepEqual(
      archive?.Transitions?.map(({ Days, StorageClass }) => `${Days} ${StorageClass}`).sort(),
      ['30 GLACIER', '365 DEEP_ARCHIVE'],
    );
    const again = await helvinoJson(['lifecycle', 'apply'], here());
    assert.equal(again.result?.rulesChanged, false);
  });

  test('packs in an archive class – restore says so; with --thaw it asks, waits and says how long; verify calls them unproven', async () => {
    const data = join(await restoredFolder(), 'data');
    const asked = new Map<string, number>();
    // A pack of data, not of structure.
    const { Contents = [] } = await store.client.send(
      new ListObjectsV2Command({ Bucket: bucket, Prefix: 'pg/packs/' }),
    );
    const [{ Key = '' } = {}] = Contents.toSorted((a, b) => (b.Size ?? 0) - (a.Size ?? 0));
    const largest = Key.slice(Key.lastIndexOf('/') + 1);
    const list = await helvinoJson(['verify'], here());
    assert.equal(list.result?.archived, 0);
    proxy.fate = ({ method, url }) => {
      const name = /\/packs\/\w\w\/(\w+)/.exec(url)?.[1];
      if (name === undefined) return { kind: 'pass' };
      if (method === 'POST' && /[?&]restore/.test(url)) {
        asked.set(name, 0);
        return { kind: 'answer', status: 202, body: '' };
      }
      const looks = asked.get(name);
      if (method === 'HEAD') {
        if (name !== largest) return { kind: 'pass' };
        if (looks !== undefined) asked.set(name, looks + 1);
        const ongoing = looks !== undefined && looks < 2;
        const restore: Record<string, string> =
          looks === undefined ? {} : { 'x-amz-restore': `ongoing-request="${ongoing}"` };
        return { kind: 'add', headers: { 'x-amz-storage-class': 'GLACIER', ...restore } };
      }
      const readable = name !== largest || (looks ?? 0) > 2;
      return readable || method !== 'GET' ? { kind: 'pass' } : s3Refusal(403, 'InvalidObjectState');
    };
    const verify = await helvino(['verify'], here());
    assert.match(verify.stdout, /unproven: 1 pack in an archive class/, verify.stdout + verify.stderr);

    const args = ['restore', '--to-directory', data, '--identity', identity];
    const refused = await helvinoJson(args, here());
    assert.equal(refused.error?.code, 'STORAGE_ARCHIVED', JSON.stringify(refused));
    assert.match(refused.error?.hint ?? '', /--thaw/);
    const outcome = await helvino([...args, '--thaw', '--thaw-poll', '100ms', '--thaw-tier', 'bulk'], here());
    assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
    assert.match(outcome.stdout, /1 pack of \S+ came back from the archive in/);
    assert.match(outcome.stderr, /1 pack asked for, Bulk tier: usually 5 to 12 hours/);
    assert.deepEqual([...asked.keys()], [largest]);
    await using _ = await startTestServer({ major: 18, dataDir: data });

    asked.clear();
    const drilled = await helvinoJson(
      ['drill', '--identity', identity, '--thaw', '--thaw-poll', '100ms'],
      here(),
    );
    assert.equal(drilled.ok, true, JSON.stringify(drilled));
    assert.match(JSON.stringify(drilled.result?.thaw), /"thawed":1,/);
    assert.notEqual(drilled.result?.verdict, 'failed');

    asked.clear();
    const thaw = ['lifecycle', 'thaw', '--identity', identity, '--thaw-poll', '100ms'];
    const thawed = await helvinoJson(thaw, here());
    assert.deepEqual([thawed.status, thawed.result?.thawed], [0, 1], JSON.stringify(thawed));
    assert.deepEqual([...asked.keys()], [largest]);
  });
}
