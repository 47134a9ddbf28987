/**
 * A real S3 server for tests: the Ceph RADOS Gateway, started and ended by scripts/s3-server.sh. `npm test` starts one for all
 * files, which takes longer than many a test; a file that runs alone starts its own.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type BucketLocationConstraint,
  CreateBucketCommand,
  PutBucketVersioningCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import type { S3Options } from '../s3-options.ts';

const script = fileURLToPath(new URL('../../../../scripts/s3-server.sh', import.meta.url));

export type BucketKind = 'plain' | 'versioned' | 'locked';

export class S3TestServer {
  readonly endpoint: string;
  /** As its owner. */
  readonly client: S3Client;
  readonly #folder: string;
  #buckets = 0;
  #stopped = false;
  readonly #isShared: boolean;

  constructor({ endpoint, folder, isShared }: { endpoint: string; folder: string; isShared: boolean }) {
    this.endpoint = endpoint;
    this.#folder = folder;
    this.#isShared = isShared;
    this.client = this.clientFor('root');
    process.once('exit', () => this.stop());
  }

  clientFor(user: string): S3Client {
    const credentials = { accessKeyId: `${user}-key`, secretAccessKey: `${user}-secret` };
    return new S3Client({ endpoint: this.endpoint, region: 'default', forcePathStyle: true, credentials });
  }

  /** A new empty bucket. */
  async bucket(kind: BucketKind = 'plain'): Promise<string> {
    const Bucket = `${kind}-${process.pid}-${++this.#buckets}`;
    await this.client.send(
      new CreateBucketCommand({
        Bucket,
        ObjectLockEnabledForBucket: kind === 'locked',
        CreateBucketConfiguration: { LocationConstraint: 'default' as BucketLocationConstraint },
      }),
    );
    if (kind === 'versioned')
      await this.client.send(
        new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: 'Enabled' } }),
      );
    return Bucket;
  }

  options(bucket: string, more: Partial<S3Options> = {}): S3Options {
    return {
      bucket,
      prefix: '',
      region: 'default',
      endpoint: this.endpoint,
      pathStyle: true,
      credentials: { accessKeyId: 'root-key', secretAccessKey: 'root-secret' },
      ...more,
    };
  }

  /** One more user, without any right yet; the keys are NAME-key and NAME-secret. */
  addUser(name: string): void {
    const run = spawnSync(script, ['user', this.#folder, name], { encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`no user ${name}: ${run.stderr}`);
  }

  /** A role that may do everything, and that only this user takes. Returns its ARN. */
  addRole(name: string, user: string): string {
    const run = spawnSync(script, ['role', this.#folder, name, user], { encoding: 'utf8' });
    if (run.status !== 0) throw new Error(`no role ${name}: ${run.stderr}`);
    return `arn:aws:iam:::role/${name}`;
  }

  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.client.destroy();
    if (!this.#isShared) spawnSync(script, ['stop', this.#folder]);
  }
}

/** A text, why there is none: for `skip`. With HELVINO_TEST_S3=needed that is an error: CI must not skip silently. */
export async function startS3Server(): Promise<S3TestServer | string> {
  const [shared, address] = process.env.HELVINO_TEST_S3_SERVER?.split(' ') ?? [];
  if (shared && address) return new S3TestServer({ endpoint: address, folder: shared, isShared: true });
  const folder = mkdtempSync(join(tmpdir(), 'hv-s3-'));
  const ports = [await freePort(), await freePort()].map(String);
  const run = spawnSync(script, ['start', folder, ...ports], { encoding: 'utf8' });
  const endpoint = /^ready (\S+)/m.exec(run.stdout)?.[1];
  if (run.status === 0 && endpoint !== undefined)
    return new S3TestServer({ endpoint, folder, isShared: false });
  const why = run.stderr.trim();
  if (run.status === 77 && process.env.HELVINO_TEST_S3 !== 'needed') return `no S3 server: ${why}`;
  throw new Error(`the S3 server did not start (${run.status}): ${why}`);
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
