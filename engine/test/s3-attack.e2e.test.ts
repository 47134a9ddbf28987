import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  DeleteBucketCommand,
  DeleteBucketPolicyCommand,
  DeleteObjectCommand,
  GetObjectRetentionCommand,
  ListObjectVersionsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketPolicyCommand,
  PutObjectCommand,
  PutObjectRetentionCommand,
} from '@aws-sdk/client-s3';
import pg from 'pg';
import { type S3TestServer, startS3Server } from '../src/storage/testing/s3-server.ts';
import { helvino, helvinoJson } from './cli.ts';
import { serverFolder, startTestServer, type TestServer } from './pg-server.ts';
import { streamByCli } from './wal-stream-cli.ts';

const s3 = await startS3Server();

if (typeof s3 === 'string') test('an attack on a repository', { skip: s3 }, () => undefined);
else describe('an attack on a repository', { concurrency: 1 }, () => registerTests(s3));

const roles = ['backup', 'restore', 'prune'] as const;

interface Version {
  readonly Key: string;
  readonly VersionId: string;
}

/** The policies of deploy/iam, for users of their names, as a policy of the bucket: Ceph has no others. */
async function bucketPolicy(bucket: string): Promise<string> {
  const statements: object[] = [];
  for (const role of roles) {
    const file = fileURLToPath(new URL(`../../deploy/iam/${role}.json`, import.meta.url));
    const text = (await readFile(file, 'utf8')).replaceAll('BUCKET', bucket).replaceAll('PREFIX', 'pg');
    for (const statement of (JSON.parse(text) as { Statement: object[] }).Statement)
      statements.push({ ...statement, Principal: { AWS: [`arn:aws:iam:::user/${role}`] } });
  }
  return JSON.stringify({ Version: '2012-10-17', Statement: statements });
}

function registerTests(store: S3TestServer): void {
  let server: TestServer;
  let home: string;
  let bucket: string;
  let place: string;
  const identity = 'helvino-recovery-identity.txt';
  const as = (user: string) => ({
    cwd: home,
    env: { AWS_ACCESS_KEY_ID: `${user}-key`, AWS_SECRET_ACCESS_KEY: `${user}-secret` },
  });

  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'hv-attack-'));
    bucket = await store.bucket('locked');
    for (const role of roles) store.addUser(role);
    await store.client.send(
      new PutBucketPolicyCommand({ Bucket: bucket, Policy: await bucketPolicy(bucket) }),
    );
    place = `s3://${bucket}/pg?region=default&endpoint=${store.endpoint}&pathStyle=true`;
    server = await startTestServer({ major: 18, config: { summarize_wal: 'on' } });
    await sql('create table shop (id int primary key); insert into shop select generate_series(1, 3000)');
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

  async function versionsOf(prefix: string): Promise<Version[]> {
    const page = await store.client.send(
      new ListObjectVersionsCommand({ Bucket: bucket, Prefix: `pg/${prefix}` }),
    );
    return (page.Versions ?? []) as Version[];
  }

  async function retention(prefix: string): Promise<{ mode?: string; until: number }[]> {
    const found = [];
    for (const { Key, VersionId } of await versionsOf(prefix)) {
      const command = new GetObjectRetentionCommand({ Bucket: bucket, Key, VersionId });
      // In Ceph an object belongs to whoever stored it.
      const { Retention } = await store
        .clientFor('backup')
        .send(command)
        .catch(() => ({ Retention: undefined }));
      found.push({ mode: Retention?.Mode, until: Retention?.RetainUntilDate?.getTime() ?? 0 });
    }
    return found;
  }

  async function restoredFolder(): Promise<string> {
    const folder = await serverFolder('hv-attack-restored-');
    folders.push(folder);
    return folder;
  }

  test('init and backups with the policy for backups – all that a backup needs is locked, leases are not', async () => {
    const made = await helvino(['init', '--url', server.url, '--path', place], as('backup'));
    assert.equal(made.status, 0, made.stdout + made.stderr);
    const file = join(home, 'helvino.yaml');
    const text = await readFile(file, 'utf8');
    const locked = text.replace(
      /^( {4}storage: \{.*) \}$/m,
      '$1, objectLock: { mode: governance, keep: 1h } }',
    );
    const original = /^ {2}main:\n((?: {4}.*\n| *\n)+)/m
      .exec(text)![1]!
      .replace(/^( {4}storage: \{.*) \}$/m, '$1, versions: first }');
    await writeFile(file, locked.replace('databases:\n', `  original:\n${original}\ndatabases:\n`));
    for (let n = 0; n < 2; n++) {
      const answer = await helvinoJson(['backup'], as('backup'));
      assert.equal(answer.status, 0, JSON.stringify(answer));
      await sql('update shop set id = id + 100000 where id % 100 = 0');
    }
    const soon = Date.now() + 3000_000;
    for (const prefix of ['packs/', 'backups/', 'ledger/', 'keys/data/']) {
      const kept = await retention(prefix);
      assert.ok(kept.length > 0, prefix);
      for (const { mode, until } of kept) assert.ok(mode === 'GOVERNANCE' && until > soon, prefix);
    }
    for (const { mode } of await retention('leases/')) assert.equal(mode, undefined);
  });

  test('lock – extended over what retention keeps, each object as long as its longest backup', async () => {
    const shown = await helvinoJson(['lock', '--dry-run'], as('backup'));
    assert.equal(shown.status, 0, JSON.stringify(shown));
    const outcome = await helvinoJson(['lock'], as('backup'));
    assert.equal(outcome.status, 0, JSON.stringify(outcome));
    const backups = (outcome.result?.backups ?? []) as { until: string }[];
    const until = backups.map((backup) => Math.floor(Date.parse(backup.until) / 1000) * 1000);
    assert.equal(until.length, 2);
    assert.ok(Math.min(...until) > Date.now() + 86_400_000, JSON.stringify(outcome));
    for (const prefix of ['packs/', 'backups/', 'keys/data/']) {
      const kept = (await retention(prefix)).map((object) => object.until);
      assert.ok(Math.min(...kept) >= Math.min(...until), prefix);
      assert.equal(Math.max(...kept), Math.max(...until), prefix);
    }
  });

  test('lock – extended over stored WAL, for as long as the window of recovery is from now on', async () => {
    {
      const { cwd, env } = as('backup');
      await using stream = await streamByCli(cwd, server, env);
      for (let n = 0; n < 3; n++)
        await sql(`insert into shop values (${500000 + n}); select pg_switch_wal()`);
      await stream.upToNow();
    }
    const whole = /\/[0-9A-F]{10}([0-9A-F]{6})-[0-9A-F]{10}\1$/;
    const pieces = async () => {
      const names = [...new Set((await versionsOf('wal/main/0')).map(({ Key }) => Key))];
      return names.filter((name) => whole.test(name)).map((name) => name.slice('pg/'.length));
    };
    assert.ok((await pieces()).length >= 3, (await pieces()).join(' '));
    const endsOf = async (name: string) => (await retention(name)).map(({ until }) => until);
    for (const name of await pieces())
      assert.ok(Math.max(...(await endsOf(name))) < Date.now() + 7200_000, name);
    const began = Date.now();
    const outcome = await helvinoJson(['lock'], as('backup'));
    assert.equal(outcome.status, 0, JSON.stringify(outcome));
    const { pieces: count, until } = outcome.result!.wal as { pieces: number; until: string };
    assert.ok(
      count >= 3 && Date.parse(until) > began + 6.9 * 86_400_000,
      JSON.stringify(outcome.result?.wal),
    );
    for (const name of (await pieces()).slice(-2))
      assert.ok(Math.max(...(await endsOf(name))) > began + 6.9 * 86_400_000, name);
  });

  test('doctor with these credentials – tried: nothing could be destroyed', async () => {
    const answer = await helvinoJson(['doctor'], as('backup'));
    const findings = (answer.result?.findings ?? []) as { name: string; state: string; detail: string }[];
    const found = findings.find(({ name }) => name === 'stolen credentials');
    assert.equal(found?.state, 'good', JSON.stringify(answer));
    assert.match(found?.detail ?? '', /could overwrite what is stored, which is locked, but not destroy it/);
  });

  test('stolen backup credentials – delete nothing, shorten nothing, change no rule of the bucket', async () => {
    const thief = store.clientFor('backup');
    const refused = async (work: Promise<unknown>, what: string) =>
      assert.rejects(work, (thrown: { name?: string; $metadata?: { httpStatusCode?: number } }) => {
        assert.equal(thrown.$metadata?.httpStatusCode, 403, `${what}: ${thrown.name}`);
        return true;
      });
    const target = { Bucket: bucket };
    for (const version of await versionsOf('')) {
      await refused(thief.send(new DeleteObjectCommand({ ...target, ...version })), version.Key);
      await refused(thief.send(new DeleteObjectCommand({ ...target, Key: version.Key })), version.Key);
    }
    const [manifest] = await versionsOf('backups/');
    const soon = { Mode: 'GOVERNANCE' as const, RetainUntilDate: new Date(Date.now() + 60_000) };
    const shorten = { ...target, ...manifest!, Retention: soon };
    await refused(thief.send(new PutObjectRetentionCommand(shorten)), 'shorten');
    const bypass = { ...shorten, BypassGovernanceRetention: true };
    await refused(thief.send(new PutObjectRetentionCommand(bypass)), 'bypass');
    const rule = { ID: 'x', Status: 'Enabled' as const, Filter: { Prefix: '' }, Expiration: { Days: 1 } };
    const lifecycle = { ...target, LifecycleConfiguration: { Rules: [rule] } };
    await refused(thief.send(new PutBucketLifecycleConfigurationCommand(lifecycle)), 'lifecycle');
    await refused(thief.send(new DeleteBucketPolicyCommand(target)), 'policy');
    await refused(thief.send(new DeleteBucketCommand(target)), 'bucket');
  });

  test('everything overwritten by the thief – verify says so; the first versions restore', async () => {
    const thief = store.clientFor('backup');
    for (const { Key } of await versionsOf('')) {
      if (Key.includes('/leases/')) continue;
      await thief.send(new PutObjectCommand({ Bucket: bucket, Key, Body: 'all your base' }));
    }
    const damaged = await helvinoJson(['verify'], as('restore'));
    assert.equal(damaged.error?.code, 'REPOSITORY_DAMAGED', JSON.stringify(damaged));

    const data = join(await restoredFolder(), 'data');
    const args = ['restore', '--repository-path', `${place}&versions=first`, '--to-directory', data];
    const outcome = await helvino([...args, '--identity', identity], as('restore'));
    assert.equal(outcome.status, 0, outcome.stdout + outcome.stderr);
    await using copy = await startTestServer({ major: 18, dataDir: data });
    const { rows } = await sql(
      'select count(*)::int as n, sum((id > 100000)::int)::int as moved from shop',
      copy.url,
    );
    assert.deepEqual(rows, [{ n: 3000, moved: 30 }]);
  });

  test('heal from the first versions – the repository is whole again, with the credentials of a backup', async () => {
    const healed = await helvino(['heal', '--from', 'original', '--confirm', 'main'], as('backup'));
    assert.equal(healed.status, 0, healed.stdout + healed.stderr);
    const verify = await helvinoJson(['verify', '--read-data', '--identity', identity], as('restore'));
    assert.deepEqual([verify.status, verify.result?.verdict], [0, 'passed'], JSON.stringify(verify));
  });

  test('the policy to prune – removes no locked backup, and collects', async () => {
    const list = await helvinoJson(['list'], as('restore'));
    const [first] = (list.result?.backups ?? []) as { id: string }[];
    const removed = await helvinoJson(['remove', first!.id, '--confirm', first!.id], as('prune'));
    assert.equal(removed.error?.code, 'STORAGE_DENIED', JSON.stringify(removed));
    assert.equal((await helvinoJson(['verify'], as('restore'))).result?.verdict, 'passed');
    const collect = await helvinoJson(['collect', '--apply', '--grace', '0s'], as('prune'));
    assert.equal(collect.status, 0, JSON.stringify(collect));
  });

  test('the policy to prune – removes what is no longer locked, and leaves the note of it', async () => {
    // Without object lock in the configuration what is stored from now on is not locked.
    const file = join(home, 'helvino.yaml');
    const text = await readFile(file, 'utf8');
    await writeFile(file, text.replace(/, objectLock: \{[^}]*\}/, ''));
    const made = await helvinoJson(['backup', '--full'], as('backup'));
    const id = String(made.result?.id);
    assert.equal(made.status, 0, JSON.stringify(made));
    await writeFile(file, text);
    const removed = await helvinoJson(['remove', id, '--confirm', id], as('prune'));
    assert.equal(removed.status, 0, JSON.stringify(removed));
    assert.equal((await versionsOf(`backups/main/${id}`)).length, 0);
    assert.equal((await versionsOf(`evidence/removed/main/${id}`)).length, 1);
    assert.equal((await helvinoJson(['verify'], as('restore'))).result?.verdict, 'passed');
  });
}
