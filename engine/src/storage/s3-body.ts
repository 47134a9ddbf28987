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
    const got = body === undefined ? 0 : await drain(body, target);
    // The connection ended early, and nobody said so; or there is more than was said.
    if (got !== length) throw broken(wanted, `${got} bytes${got > length ? ' and more' : ''}`, length);
    return target;
  } finally {
    body?.destroy();
  }
}

/** Fills `target`; returns how many bytes came, of which those that are too many are lost. */
function drain(body: Readable, target: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    let at = 0;
    let last: Uint8Array | undefined;
    // Listened to, not iterated over: an iterator joins what has gathered meanwhile, which is one more copy.
    body.on('data', (piece: Uint8Array) => {
      if (last !== undefined && last.buffer !== piece.buffer) freePiece(last);
      last = piece;
      at += piece.length;
      if (at > target.length) return body.destroy();
      target.set(piece, at - piece.length);
    });
    body.on('error', reject);
    // After `error`, too, when it changes nothing.
    body.on('close', () => resolve(at));
  });
}

/** Smaller ones may be parts of Node's pool of small buffers, which others use. */
const smallestFreed = 16 << 10;

/**
 * Gives back what was received and copied. Each piece of 64 KiB is memory outside of the heap, of which the collector lets 16 MiB
 * gather and then looks through the whole heap: a tenth of the time of a restore. The parser of HTTP is done with a piece when the
 * next one comes.
 */
function freePiece({ buffer }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength >= smallestFreed) buffer.transfer(0);
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
