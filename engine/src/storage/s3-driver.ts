/**
 * The S3 driver, for Amazon S3 and compatible stores. What it needs of a store: strong read-after-write consistency, and
 * `If-None-Match: *` on PUT (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html); `helvino doctor`
 * tries the latter.
 *
 * - Absent is only what the store calls NoSuchKey in the body of an answer: a HEAD has no body, so a 404 is asked again.
 * - Checksums: SHA-256 of every body, in the signature and as the object's checksum (s3-client.ts).
 * - In a bucket with versions, to remove is to remove every version: a delete marker would free nothing. The oldest goes
 *   first: if that is retained, nothing has changed.
 * - Objects above a limit go in parts. A store that ignores the condition there can let two writers of one name both
 *   succeed; Helvino's large objects have random names.
 * - A store that ignores the condition altogether (some do so in buckets with versions) is found out by a probe before the
 *   first put. Then it is looked first, and of two writers at once the one whose version is older has won; without
 *   versions such a race stays undecided, and doctor says so.
 */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  GetObjectLockConfigurationCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  type PutObjectCommandInput,
  type S3Client,
} from '@aws-sdk/client-s3';
import { HelvinoError } from '../base/errors.ts';
import type { ByteRange, Capabilities, ObjectFacts, PutOptions, StorageDriver } from './driver.ts';
import { assertObjectName, assertPrefix, assertRange, isObjectName, temporaryFolder } from './names.ts';
import { readBody } from './s3-body.ts';
import { connectS3, type S3Connection } from './s3-client.ts';
import { httpStatus, s3Error, s3Reason } from './s3-errors.ts';
import { putInParts } from './s3-multipart.ts';
import type { S3Options } from './s3-options.ts';
import { extendRetention } from './s3-retention.ts';
import { keepIfFirst, removeVersions } from './s3-versions.ts';

const defaultMultipartAbove = 64 << 20;
const smallestMultipart = 5 << 20;
/** Below this, pieces are sent as one: a system call each would cost more than the copy. */
const smallBody = 256 << 10;

/** Throws CONFIG_INVALID when retention is wanted and the bucket has no object lock. */
export async function openS3Driver(options: S3Options): Promise<StorageDriver> {
  const driver = new S3Driver(options);
  if (options.lock !== undefined) await driver.assertLockable();
  return driver;
}

class S3Driver implements StorageDriver {
  readonly capabilities: Capabilities;
  readonly #options: S3Options;
  readonly #connection: S3Connection;
  #versions: Promise<boolean> | undefined;
  #condition: Promise<boolean> | undefined;

  constructor(options: S3Options) {
    const retention = options.lock !== undefined;
    this.capabilities = { kind: 's3', place: placeOf(options), retention, distant: true };
    this.#options = options;
    this.#connection = connectS3(options);
  }

  async put(name: string, body: readonly Uint8Array[], options: PutOptions): Promise<void> {
    assertObjectName(name);
    const pieces = body.filter((piece) => piece.length > 0).map(asBuffer);
    const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
    const above = Math.max(smallestMultipart, this.#options.multipartAbove ?? defaultMultipartAbove);
    await this.#doing('write', name, async () => {
      if (size > above) await this.#putLarge(name, { pieces, size, options });
      else await this.#putWhole(name, { pieces, size, options });
    });
  }

  async #putWhole(name: string, { pieces, size, options }: Body): Promise<void> {
    const sure = !options.ifAbsent || (await this.conditionHolds());
    if (!sure && (await this.head(name)) !== undefined) throw this.#exists(name);
    const hash = createHash('sha256');
    for (const piece of pieces) hash.update(piece);
    const whole = size <= smallBody ? Buffer.concat(pieces) : Readable.from(pieces, { objectMode: false });
    const { VersionId } = await this.#client.send(
      new PutObjectCommand({
        ...this.#target(name),
        // Without retention while it may have to be taken back.
        ...this.#newObject(name, sure ? options : { ifAbsent: true }),
        Body: whole,
        ContentLength: size,
        ChecksumSHA256: hash.digest('base64'),
        IfNoneMatch: options.ifAbsent ? '*' : undefined,
      }),
    );
    if (sure) return;
    if (VersionId !== undefined && !(await keepIfFirst(this.#client, this.#target(name), VersionId)))
      throw this.#exists(name);
    await this.#retain(name, options);
  }

  /** For what could not be stored with its retention. */
  async #retain(name: string, { retainUntil: until }: PutOptions): Promise<void> {
    const { lock: mode } = this.#options;
    if (until === undefined || mode === undefined) return;
    await extendRetention(this.#client, this.#target(name), { mode, until });
  }

  #exists(name: string): HelvinoError {
    return new HelvinoError('STORAGE_EXISTS', `${name} exists in ${this.capabilities.place}`, {
      hint: 'nothing is overwritten; choose another name',
      context: { name },
    });
  }

  /**
   * Whether `If-None-Match: *` is honoured. The probe is one empty object with a name that no object has, made once: where
   * the condition holds, a single refused request tells.
   */
  conditionHolds(): Promise<boolean> {
    this.#condition ??= this.#probeCondition().catch((thrown: unknown) => {
      this.#condition = undefined;
      throw thrown;
    });
    return this.#condition;
  }

  async #probeCondition(): Promise<boolean> {
    if (this.#options.endpoint === undefined) return true;
    const target = this.#target(`${temporaryFolder}/condition-probe`);
    for (let put = 1; put <= 2; put++) {
      try {
        const body = { Body: Buffer.alloc(0), ContentLength: 0 };
        await this.#client.send(new PutObjectCommand({ ...target, ...body, IfNoneMatch: '*' }));
      } catch (thrown) {
        if (httpStatus(thrown) === 412) return true;
        throw thrown;
      }
    }
    return false;
  }

  async #putLarge(name: string, { pieces, size, options }: Body): Promise<void> {
    // Before gigabytes are sent in vain; the condition at the end decides.
    if (options.ifAbsent && (await this.head(name)) !== undefined) throw this.#exists(name);
    const create = {
      ...this.#target(name),
      ...this.#newObject(name, options),
      ChecksumAlgorithm: 'SHA256' as const,
    };
    const { place } = this.capabilities;
    const { ifAbsent } = options;
    await putInParts({ client: this.#client, place, name, body: pieces, size, ifAbsent, create });
    // Some stores forget the retention of an object that came in parts.
    await this.#retain(name, options);
  }

  #newObject(name: string, { retainUntil }: PutOptions): Partial<PutObjectCommandInput> & object {
    const { encryption, lock, storageClasses } = this.#options;
    const storageClass = storageClasses?.find(({ prefix }) => name.startsWith(prefix))?.storageClass;
    const retained = lock !== undefined && retainUntil !== undefined;
    return {
      ContentType: 'application/octet-stream',
      StorageClass: storageClass as PutObjectCommandInput['StorageClass'],
      ServerSideEncryption: encryption?.kind,
      SSEKMSKeyId: encryption?.keyId,
      ObjectLockMode: retained ? lock : undefined,
      ObjectLockRetainUntilDate: retained ? retainUntil : undefined,
    };
  }

  async get(name: string, range?: ByteRange, into?: Uint8Array): Promise<Uint8Array> {
    assertObjectName(name);
    assertRange(name, range, into);
    if (range?.length === 0) return this.#nothing(name, range.offset, into);
    return this.#doing('read', name, async () => {
      const Range = range && `bytes=${range.offset}-${range.offset + range.length - 1}`;
      const answer = await this.#client.send(new GetObjectCommand({ ...this.#target(name), Range }));
      return readBody(answer, { name, range, into, place: this.capabilities.place });
    });
  }

  /** There is no range of no bytes in HTTP. */
  async #nothing(name: string, offset: number, into: Uint8Array | undefined): Promise<Uint8Array> {
    const facts = await this.head(name);
    if (facts !== undefined && offset <= facts.size) return (into ?? new Uint8Array(0)).subarray(0, 0);
    const message = `${name} in ${this.capabilities.place} has ${facts?.size ?? 'no'} bytes; ${offset} is behind its end`;
    throw new HelvinoError(facts ? 'STORAGE_SHORT_READ' : 'STORAGE_NOT_FOUND', message, {
      context: { name, offset, length: 0 },
    });
  }

  async head(name: string): Promise<ObjectFacts | undefined> {
    assertObjectName(name);
    return this.#doing('look at', name, async () => {
      for (let look = 1; look <= 5; look++) {
        try {
          const facts = await this.#client.send(new HeadObjectCommand(this.#target(name)));
          const modified = facts.LastModified ?? new Date(Number.NaN);
          return { name, size: facts.ContentLength ?? 0, modified };
        } catch (thrown) {
          if (httpStatus(thrown) !== 404) throw thrown;
        }
        if (await this.#isAbsent(name)) return undefined;
      }
      throw new HelvinoError(
        'STORAGE_UNAVAILABLE',
        `${this.capabilities.place} gives two answers about ${name}`,
      );
    });
  }

  /** A HEAD cannot tell a missing object from a missing bucket; the body of a GET can. False: it has just appeared. */
  async #isAbsent(name: string): Promise<boolean> {
    try {
      const { Body } = await this.#client.send(
        new GetObjectCommand({ ...this.#target(name), Range: 'bytes=0-0' }),
      );
      (Body as Readable | undefined)?.destroy();
      return false;
    } catch (thrown) {
      if (s3Reason(thrown) === 'NoSuchKey') return true;
      // An empty object has no byte 0.
      if (httpStatus(thrown) === 416) return false;
      throw thrown;
    }
  }

  async *list(prefix: string): AsyncGenerator<ObjectFacts, void, void> {
    assertPrefix(prefix);
    const root = this.#options.prefix && `${this.#options.prefix}/`;
    let token: string | undefined;
    do {
      const page: ListObjectsV2CommandOutput = await this.#doing('list', prefix, () =>
        this.#client.send(
          new ListObjectsV2Command({
            Bucket: this.#options.bucket,
            Prefix: `${root}${prefix}`,
            ContinuationToken: token,
            // Names of others may hold what XML cannot.
            EncodingType: 'url',
          }),
        ),
      );
      for (const object of page.Contents ?? []) {
        const name = decodeKey(object.Key ?? '').slice(root.length);
        if (!isObjectName(name)) continue;
        yield { name, size: object.Size ?? 0, modified: object.LastModified ?? new Date(Number.NaN) };
      }
      token = page.IsTruncated ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
  }

  async remove(name: string): Promise<void> {
    assertObjectName(name);
    await this.#doing('remove', name, async () => {
      if (await this.#hasVersions()) await removeVersions(this.#client, this.#target(name));
      else await this.#client.send(new DeleteObjectCommand(this.#target(name)));
    });
  }

  async extendRetention(name: string, until: Date): Promise<void> {
    assertObjectName(name);
    const { lock } = this.#options;
    if (lock === undefined) {
      await this.get(name, { offset: 0, length: 0 });
      return;
    }
    await this.#doing('extend the retention of', name, () =>
      extendRetention(this.#client, this.#target(name), { mode: lock, until }),
    );
  }

  async now(): Promise<Date> {
    return this.#doing('ask the time of', '', async () => {
      await this.#client.send(new HeadBucketCommand({ Bucket: this.#options.bucket }));
      const date = this.#connection.lastDate();
      if (date !== undefined) return date;
      throw new HelvinoError(
        'STORAGE_UNAVAILABLE',
        `${this.capabilities.place} does not say what time it is`,
      );
    });
  }

  async close(): Promise<void> {
    this.#client.destroy();
  }

  async assertLockable(): Promise<void> {
    const { bucket } = this.#options;
    try {
      const { ObjectLockConfiguration: lock } = await this.#doing('read the object lock of', '', () =>
        this.#client.send(new GetObjectLockConfigurationCommand({ Bucket: bucket })),
      );
      if (lock?.ObjectLockEnabled === 'Enabled') return;
    } catch (thrown) {
      const error = thrown as HelvinoError;
      // Credentials that may not look: the first put with retention will show it.
      if (['AccessDenied', 'NotImplemented'].includes(String(error.context.reason))) return;
      if (!/^(ObjectLockConfigurationNotFound|InvalidRequest)/.test(String(error.context.reason)))
        throw error;
    }
    throw new HelvinoError(
      'CONFIG_INVALID',
      `objectLock is set, but the bucket ${bucket} was made without object lock`,
      {
        hint: 'turn object lock on for the bucket (it needs versioning), or leave objectLock out',
        context: { bucket },
      },
    );
  }

  /** Asked once; credentials that may not ask remove version by version, which works on every bucket. */
  async #hasVersions(): Promise<boolean> {
    this.#versions ??= this.#client
      .send(new GetBucketVersioningCommand({ Bucket: this.#options.bucket }))
      .then(
        (answer) => answer.Status !== undefined,
        (thrown: unknown) => {
          this.#versions = undefined;
          if (httpStatus(thrown) === 403) return true;
          throw thrown;
        },
      );
    return this.#versions;
  }

  get #client(): S3Client {
    return this.#connection.client;
  }

  #target(name: string): { Bucket: string; Key: string } {
    const { bucket, prefix } = this.#options;
    return { Bucket: bucket, Key: prefix === '' ? name : `${prefix}/${name}` };
  }

  async #doing<Result>(doing: string, name: string, work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (thrown) {
      throw s3Error(thrown, doing, name, this.capabilities.place);
    }
  }
}

interface Body {
  readonly pieces: readonly Buffer[];
  readonly size: number;
  readonly options: PutOptions;
}

/** As `--path` and `--repository-path` take it, so that it alone finds the store again. */
function placeOf({ bucket, prefix, region, endpoint, pathStyle }: S3Options): string {
  const more = [
    `region=${region}`,
    ...(endpoint === undefined ? [] : [`endpoint=${endpoint}`]),
    ...(pathStyle ? ['pathStyle=true'] : []),
  ];
  return `s3://${bucket}${prefix && `/${prefix}`}?${more.join('&')}`;
}

/** The same memory: the SDK and streams take buffers only, and know no shared memory otherwise. */
function asBuffer(piece: Uint8Array): Buffer {
  return Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
}

function decodeKey(key: string): string {
  try {
    return decodeURIComponent(key.replaceAll('+', ' '));
  } catch {
    // Not one of ours.
    return '';
  }
}
