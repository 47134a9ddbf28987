/** Large objects in parts: several at a time, each tried again by itself. */
import { createHash } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  type CreateMultipartUploadCommandInput,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { systemClock } from '../base/clock.ts';
import { HelvinoError } from '../base/errors.ts';
import { mapParallel } from '../streams/index.ts';
import { s3Error } from './s3-errors.ts';

const mib = 1 << 20;
/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html: 5 MiB to 5 GiB each, 10 000 at most. */
const smallestPart = 8 * mib;
const mostParts = 9000;
const partsAtOnce = 4;
const partAttempts = 4;

/** Small parts while they suffice, so that little is lost when one breaks; larger ones for what would take too many. */
export function partSizeFor(size: number): number {
  return Math.max(smallestPart, Math.ceil(size / mostParts / mib) * mib);
}

export interface MultipartUpload {
  readonly client: S3Client;
  readonly place: string;
  readonly name: string;
  readonly body: readonly Uint8Array[];
  readonly size: number;
  readonly ifAbsent: boolean;
  readonly create: CreateMultipartUploadCommandInput;
}

/** Whole or not at all: the object appears when the parts are put together. Throws what the SDK throws. */
export async function putInParts(upload: MultipartUpload): Promise<void> {
  const { client, create, ifAbsent } = upload;
  const target = { Bucket: create.Bucket, Key: create.Key };
  const { UploadId } = await client.send(new CreateMultipartUploadCommand(create));
  try {
    const parts: CompletedPart[] = [];
    for await (const part of mapParallel(partsOf(upload), partsAtOnce, (piece, index) =>
      sendPart(upload, { ...target, UploadId, PartNumber: index + 1, pieces: piece }),
    ))
      parts.push(part);
    await client.send(
      new CompleteMultipartUploadCommand({
        ...target,
        UploadId,
        MultipartUpload: { Parts: parts },
        IfNoneMatch: ifAbsent ? '*' : undefined,
      }),
    );
  } catch (thrown) {
    // What is left is invisible, and removed by the lifecycle rule for unfinished uploads.
    await client.send(new AbortMultipartUploadCommand({ ...target, UploadId })).catch(() => undefined);
    throw thrown;
  }
}

interface Part {
  readonly Bucket: string | undefined;
  readonly Key: string | undefined;
  readonly UploadId: string | undefined;
  readonly PartNumber: number;
  readonly pieces: readonly Uint8Array[];
}

/** A part may be sent as often as need be: the last one counts. */
async function sendPart(
  { client, name, place }: MultipartUpload,
  { pieces, ...target }: Part,
): Promise<CompletedPart> {
  const Body = Buffer.concat(pieces);
  const ChecksumSHA256 = createHash('sha256').update(Body).digest('base64');
  for (let attempt = 1; ; attempt++) {
    try {
      const sent = await client.send(
        new UploadPartCommand({ ...target, Body, ContentLength: Body.length, ChecksumSHA256 }),
      );
      if (sent.ETag === undefined)
        throw new HelvinoError(
          'STORAGE_IO',
          `${place} gave no ETag for part ${target.PartNumber} of ${name}`,
        );
      // The checksum again only where the store has kept it: one that knows none refuses it.
      return {
        PartNumber: target.PartNumber,
        ETag: sent.ETag,
        ChecksumSHA256: sent.ChecksumSHA256,
      };
    } catch (thrown) {
      if (attempt >= partAttempts || !s3Error(thrown, 'write', name, place).retry) throw thrown;
      await systemClock.sleep(250 * 2 ** attempt);
    }
  }
}

/** The body cut into parts, as views. */
function* partsOf({ body, size }: MultipartUpload): Generator<Uint8Array[]> {
  const partSize = partSizeFor(size);
  let part: Uint8Array[] = [];
  let room = partSize;
  for (const piece of body) {
    for (let at = 0; at < piece.length; ) {
      const view = piece.subarray(at, at + room);
      part.push(view);
      at += view.length;
      room -= view.length;
      if (room > 0) continue;
      yield part;
      part = [];
      room = partSize;
    }
  }
  if (part.length > 0) yield part;
}
