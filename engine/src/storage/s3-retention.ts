/** Object lock: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html. Functions throw what the SDK throws. */
import {
  GetObjectRetentionCommand,
  type ObjectLockRetention,
  PutObjectRetentionCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { HelvinoError } from '../base/errors.ts';
import { s3Reason } from './s3-errors.ts';

interface Target {
  readonly Bucket: string;
  readonly Key: string;
}

interface Wish {
  readonly mode: 'GOVERNANCE' | 'COMPLIANCE';
  readonly until: Date;
}

/** Never shortens, and keeps the mode that is there. */
export async function extendRetention(client: S3Client, target: Target, wish: Wish): Promise<void> {
  const now = await retentionOf(client, target);
  if (isKept(now, wish.until)) return;
  await client.send(
    new PutObjectRetentionCommand({
      ...target,
      Retention: { Mode: now?.Mode ?? wish.mode, RetainUntilDate: wish.until },
    }),
  );
  await assertKept(client, target, wish.until);
}

async function assertKept(client: S3Client, target: Target, until: Date): Promise<void> {
  if (isKept(await retentionOf(client, target), until)) return;
  throw new HelvinoError('STORAGE_IO', `the store took the retention of ${target.Key} and does not keep it`, {
    hint: 'this store does not honour object lock; do not rely on it',
    context: { name: target.Key, until: until.toISOString() },
  });
}

async function retentionOf(client: S3Client, target: Target): Promise<ObjectLockRetention | undefined> {
  try {
    return (await client.send(new GetObjectRetentionCommand(target))).Retention;
  } catch (thrown) {
    // Amazon's word, and Ceph's.
    const none = ['NoSuchObjectLockConfiguration', 'ObjectLockConfigurationNotFoundError'];
    if (none.includes(s3Reason(thrown) ?? '')) return undefined;
    throw thrown;
  }
}

/** Stores keep whole seconds. */
function isKept(retention: ObjectLockRetention | undefined, until: Date): boolean {
  const kept = retention?.RetainUntilDate;
  return kept !== undefined && kept.getTime() >= Math.floor(until.getTime() / 1000) * 1000;
}
