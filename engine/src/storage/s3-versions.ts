/** The versions of one object, in a bucket that keeps them. Functions throw what the SDK throws. */
import {
  DeleteObjectCommand,
  ListObjectVersionsCommand,
  type ListObjectVersionsCommandOutput,
  type S3Client,
} from '@aws-sdk/client-s3';

import { httpStatus } from './s3-errors.ts';

interface Target {
  readonly Bucket: string;
  readonly Key: string;
}

/** Removes every version, oldest first: if that one is retained, nothing has changed. */
export async function removeVersions(client: S3Client, target: Target): Promise<void> {
  const { versions, markers } = await versionsOf(client, target);
  // Markers last: nothing old shows up again while they are there.
  for (const VersionId of [...versions.reverse(), ...markers])
    await client.send(new DeleteObjectCommand({ ...target, VersionId }));
}

/** False when the name has an older version than this one, which is then removed if it may be. */
export async function keepIfFirst(client: S3Client, target: Target, VersionId: string): Promise<boolean> {
  const { versions } = await versionsOf(client, target);
  if (versions.at(-1) === VersionId) return true;
  // Credentials of a backup may not: then it stays, above the one that has won.
  await client.send(new DeleteObjectCommand({ ...target, VersionId })).catch((thrown: unknown) => {
    if (httpStatus(thrown) !== 403) throw thrown;
  });
  return false;
}

/** Newest first, in the order of the list: dates are of when a put began, so that they do not say which came first. */
async function versionsOf(
  client: S3Client,
  { Bucket, Key }: Target,
): Promise<{ versions: string[]; markers: string[] }> {
  const found = { versions: [] as string[], markers: [] as string[] };
  const mine = (entry: { Key?: string; VersionId?: string }) =>
    entry.Key === Key && entry.VersionId !== undefined ? [entry.VersionId] : [];
  let marker: { KeyMarker?: string; VersionIdMarker?: string } | undefined = {};
  while (marker !== undefined) {
    const page: ListObjectVersionsCommandOutput = await client.send(
      new ListObjectVersionsCommand({ Bucket, Prefix: Key, ...marker }),
    );
    found.versions.push(...(page.Versions ?? []).flatMap(mine));
    found.markers.push(...(page.DeleteMarkers ?? []).flatMap(mine));
    // Sorted by key: behind it come only longer names.
    const more: boolean = page.IsTruncated === true && page.NextKeyMarker === Key;
    marker = more ? { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker } : undefined;
  }
  return found;
}
