/** What someone who has stolen these credentials could do to what is stored: tried on an object made for it. */
import {
  DeleteObjectCommand,
  type DeleteObjectCommandInput,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { systemClock } from '../base/clock.ts';
import { randomHex } from '../base/ids.ts';
import { connectS3 } from './s3-client.ts';
import { httpStatus, s3Error } from './s3-errors.ts';
import type { S3Options } from './s3-options.ts';

export interface S3Rights {
  /** Whether the bucket keeps versions. */
  readonly versions: boolean;
  /** What a put over an object does. `hidden`: its bytes stay, as an older version. */
  readonly overwrite: 'refused' | 'hidden' | 'destroyed';
  /** What a delete does. */
  readonly remove: 'refused' | 'hidden' | 'destroyed';
  /** With object lock: until when the probe was locked, and could not be removed whatever the policy says. */
  readonly locked: boolean;
}

const lockMs = 60_000;

/** Throws STORAGE_* when the probe cannot be made. What can be removed of the probe is. */
export async function probeS3(options: S3Options): Promise<S3Rights> {
  const { client } = connectS3(options);
  const prefix = options.prefix && `${options.prefix}/`;
  const target = { Bucket: options.bucket, Key: `${prefix}.tmp/probe-${randomHex(8)}` };
  const left: (string | undefined)[] = [];
  const put = async (body: string) => {
    const answer = await client.send(new PutObjectCommand({ ...target, ...lockOf(options), Body: body }));
    left.push(answer.VersionId);
    return answer.VersionId;
  };
  try {
    const version = await put('probe');
    const versions = version !== undefined && version !== 'null';
    const spoiled = versions ? 'hidden' : 'destroyed';
    const overwrite = (await refused(() => put('overwritten'))) ? 'refused' : spoiled;
    const marked = !(await refused(async () => left.push(await remove(client, target))));
    const destroyed = versions && !(await refused(() => remove(client, { ...target, VersionId: version })));
    return {
      versions,
      overwrite,
      remove: destroyed ? 'destroyed' : marked ? spoiled : 'refused',
      locked: options.lock !== undefined && versions && !destroyed,
    };
  } catch (thrown) {
    throw s3Error(thrown, 'try', 'a probe', `s3://${options.bucket}`);
  } finally {
    for (const VersionId of left) await remove(client, { ...target, VersionId }).catch(() => undefined);
    client.destroy();
  }
}

/** The version of the delete marker, if one was made. */
async function remove(client: S3Client, target: DeleteObjectCommandInput): Promise<string | undefined> {
  return (await client.send(new DeleteObjectCommand(target))).VersionId;
}

async function refused(attempt: () => Promise<unknown>): Promise<boolean> {
  try {
    await attempt();
    return false;
  } catch (thrown) {
    if (httpStatus(thrown) === 403) return true;
    throw thrown;
  }
}

function lockOf({ lock }: S3Options): object {
  if (lock === undefined) return {};
  return { ObjectLockMode: lock, ObjectLockRetainUntilDate: new Date(systemClock.now().getTime() + lockMs) };
}
