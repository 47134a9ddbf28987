/** Credentials that are not fixed keys: a role, a profile with a role, and the temporary keys of a session in variables. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fromTemporaryCredentials } from '@aws-sdk/credential-providers';
import { type S3TestServer, startS3Server } from '../src/storage/testing/s3-server.ts';
import { helvino, helvinoJson } from './cli.ts';
import { startTestServer, type TestServer } from './pg-server.ts';

const s3 = await startS3Server();

if (typeof s3 === 'string') test('roles', { skip: s3 }, () => undefined);
else describe('roles', { concurrency: 1 }, () => registerTests(s3));

function registerTests(store: S3TestServer): void {
  let server: TestServer;
  let home: string;
  let place: string;
  let arn: string;
  const keys = { AWS_ACCESS_KEY_ID: 'app-key', AWS_SECRET_ACCESS_KEY: 'app-secret' };
  const root = { AWS_ACCESS_KEY_ID: 'root-key', AWS_SECRET_ACCESS_KEY: 'root-secret' };
  const config = () => join(home, 'helvino.yaml');
  let plain = '';

  /** `more`: settings of the storage. */
  async function withStorage(more: string): Promise<void> {
    await writeFile(config(), plain.replace(/^( {4}storage: \{.*) \}$/m, `$1, ${more} }`));
  }

  before(async () => {
    home = await mkdtemp(join(tmpdir(), 'hv-roles-'));
    store.addUser('app');
    store.addUser('other');
    arn = store.addRole('keeper', 'app');
    place = `s3://${await store.bucket()}/pg?region=default&endpoint=${store.endpoint}&pathStyle=true`;
    server = await startTestServer({ major: 18 });
    const words = ['init', '--url', server.url, '--path', place, '--no-check'];
    const made = await helvino(words, { cwd: home, env: root });
    assert.equal(made.status, 0, made.stdout + made.stderr);
    plain = await readFile(config(), 'utf8');
  });

  after(async () => {
    store.stop();
    await server[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  });

  test('keys that may nothing but take a role – with the role a backup is stored; without it, and by others, denied', async () => {
    const bare = await helvinoJson(['backup'], { cwd: home, env: keys });
    assert.deepEqual([bare.status, bare.error?.code], [77, 'STORAGE_DENIED'], JSON.stringify(bare));
    await withStorage(`role: { arn: "${arn}", endpoint: "${store.endpoint}" }`);
    const made = await helvinoJson(['backup'], { cwd: home, env: keys });
    assert.equal(made.status, 0, JSON.stringify(made));
    const env = { AWS_ACCESS_KEY_ID: 'other-key', AWS_SECRET_ACCESS_KEY: 'other-secret' };
    const other = await helvinoJson(['list'], { cwd: home, env });
    assert.deepEqual([other.status, other.error?.code], [77, 'STORAGE_DENIED'], JSON.stringify(other));
  });

  test('a profile with a role – its source profile takes it', async () => {
    const file = join(home, 'aws-credentials');
    const source = '[app]\naws_access_key_id = app-key\naws_secret_access_key = app-secret\n';
    await writeFile(file, `${source}[keeper]\nrole_arn = ${arn}\nsource_profile = app\nregion = default\n`);
    await withStorage('profile: keeper');
    const env = { AWS_SHARED_CREDENTIALS_FILE: file, AWS_ENDPOINT_URL_STS: store.endpoint };
    const made = await helvinoJson(['backup'], { cwd: home, env });
    assert.equal(made.status, 0, JSON.stringify(made));
    const verified = await helvinoJson(['verify'], { cwd: home, env });
    assert.equal(verified.result?.verdict, 'passed', JSON.stringify(verified));
  });

  test('temporary keys in variables – with the token of their session they read, without it they are denied', async () => {
    await writeFile(config(), plain);
    const session = await fromTemporaryCredentials({
      masterCredentials: { accessKeyId: 'app-key', secretAccessKey: 'app-secret' },
      params: { RoleArn: arn, RoleSessionName: 'test' },
      clientConfig: { region: 'default', endpoint: store.endpoint },
    })();
    const env = { AWS_ACCESS_KEY_ID: session.accessKeyId, AWS_SECRET_ACCESS_KEY: session.secretAccessKey };
    const listed = await helvinoJson(['list'], {
      cwd: home,
      env: { ...env, AWS_SESSION_TOKEN: session.sessionToken! },
    });
    assert.equal((listed.result!.backups as unknown[]).length, 2, JSON.stringify(listed));
    const without = await helvinoJson(['list'], { cwd: home, env });
    assert.deepEqual([without.status, without.error?.code], [77, 'STORAGE_DENIED'], JSON.stringify(without));
  });

  test('a web identity whose token the service refuses – the service was asked, and it is denied', async () => {
    const token = join(home, 'token');
    await writeFile(token, 'e30.e30.e30');
    const env = {
      AWS_WEB_IDENTITY_TOKEN_FILE: token,
      AWS_ROLE_ARN: arn,
      AWS_ENDPOINT_URL_STS: store.endpoint,
      AWS_SHARED_CREDENTIALS_FILE: join(home, 'none'),
      AWS_CONFIG_FILE: join(home, 'none'),
      AWS_EC2_METADATA_DISABLED: 'true',
    };
    const refused = await helvinoJson(['list'], { cwd: home, env });
    assert.equal(refused.error?.code, 'STORAGE_DENIED', JSON.stringify(refused));
    // Of the service, not that there are no credentials.
    assert.match(refused.error?.message ?? '', /403/);
  });
}
