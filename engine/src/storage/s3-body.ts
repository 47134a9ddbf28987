/** Reading the body of a GET: exactly the bytes that were asked for, or an error. */
import type { Readable } from 'node:stream';
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3';
import { HelvinoError } from '../base/errors.ts';
import type { ByteRange } from './driver.ts';
import { assertFits } from './names.ts';

interface Wanted {
  readonly name: string;
  readonly range: ByteRange | undefined;
  readonly into: Uint8Array | undefined;
  readonly place: string;
}

export async function readBody(answer: GetObjectCommandOutput, wanted: Wanted): Promise<Uint8Array> {
  const body = answer.Body as Readable | undefined;
  try {
    const length = lengthOf(answer, wanted);
    if (wanted.into !== undefined) assertFits(wanted.name, length, wanted.into);
    const target = (wanted.into ?? Buffer.allocUnsafeSlow(length)).subarray(0, length);
    let at = 0;
    for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) {
      if (at + chunk.length > length) throw broken(wanted, `${at + chunk.length} bytes and more`, length);
      target.set(chunk, at);
      at += chunk.length;
    }
    // The connection ended early, and nobody said so.
    if (at < length) throw broken(wanted, `${at} bytes`, length);
    return target;
  } finally {
    body?.destroy();
  }
}

/** How many bytes must come. Throws STORAGE_SHORT_READ when the object has fewer than were asked for. */
function lengthOf({ ContentLength, ContentRange }: GetObjectCommandOutput, wanted: Wanted): number {
  const { name, range, place } = wanted;
  if (ContentLength === undefined)
    throw new HelvinoError('STORAGE_UNAVAILABLE', `${place} does not say how long ${name} is`);
  if (range === undefined || ContentLength === range.length) {
    const first = range && ContentRange && Number(/^bytes (\d+)-/.exec(ContentRange)?.[1]);
    if (first === undefined || first === '' || first === range?.offset) return ContentLength;
  } else if (ContentLength < range.length) {
    const message = `${name} in ${place} is too short: ${range.length} bytes at ${range.offset} were asked for, ${ContentLength} are there`;
    throw new HelvinoError('STORAGE_SHORT_READ', message, {
      hint: 'run helvino verify',
      context: { name, ...range, got: ContentLength },
    });
  }
  throw new HelvinoError('STORAGE_IO', `${place} answered with another part of ${name} than was asked for`, {
    hint: 'a proxy or the store does not know ranges; connect to the store itself',
    context: { name, ...range, ContentLength, ContentRange },
  });
}

function broken({ name, place }: Wanted, got: string, length: number): HelvinoError {
  return new HelvinoError(
    'STORAGE_UNAVAILABLE',
    `the connection broke while ${name} was read from ${place}: ${got} of ${length}`,
    { hint: 'try again; check the network if this stays', context: { name } },
  );
}
