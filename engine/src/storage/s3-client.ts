/**
 * The SDK client: credentials, connections, and the two things that the driver adds to every request: the body's hash,
 * computed once for signature and checksum, and the store's clock, read from every answer.
 */
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { Readable } from 'node:stream';
import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import { fromIni, fromTemporaryCredentials } from '@aws-sdk/credential-providers';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { S3Options } from './s3-options.ts';

export interface S3Connection {
  readonly client: S3Client;
  /** The `Date` of the newest answer: the store's clock. */
  lastDate(): Date | undefined;
}

const defaultConnections = 16;
const defaultIdleMs = 60_000;

export function connectS3(options: S3Options): S3Connection {
  const client = new S3Client({
    region: options.region,
    endpoint: options.endpoint,
    forcePathStyle: options.pathStyle,
    // The decorator of retry.ts tries again: it knows which tries are safe. Two layers would multiply.
    maxAttempts: 1,
    // Bodies are hashed by us (see below). What is read is authenticated by the repository, byte by byte.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // A bucket in another region is a mistake in the configuration, which a redirect would hide (and bill).
    followRegionRedirects: false,
    requestHandler: requestHandler(options),
    ...credentialsOf(options),
  });
  addPayloadHash(client);
  askAgainAtTheRightTime(client);
  return { client, lastDate: watchDates(client) };
}

function requestHandler({
  connections = defaultConnections,
  idleMs = defaultIdleMs,
}: S3Options): NodeHttpHandler {
  // A few more sockets than the limit of calls: leases and the clock never wait (limit.ts).
  const sockets = { keepAlive: true, maxSockets: connections + 8 };
  return new NodeHttpHandler({
    connectionTimeout: Math.min(10_000, idleMs),
    socketTimeout: idleMs,
    httpAgent: new HttpAgent(sockets),
    httpsAgent: new HttpsAgent(sockets),
    socketAcquisitionWarningTimeout: 2 ** 30,
  });
}

function credentialsOf({
  credentials,
  profile,
  role,
  region,
}: S3Options): Pick<S3ClientConfig, 'credentials'> {
  const own = credentials ?? (profile === undefined ? undefined : fromIni({ profile }));
  if (role === undefined) return own === undefined ? {} : { credentials: own };
  return {
    credentials: fromTemporaryCredentials({
      masterCredentials: own,
      params: { RoleArn: role.arn, RoleSessionName: 'helvino', ExternalId: role.externalId },
      clientConfig: { region, ...(role.endpoint === undefined ? {} : { endpoint: role.endpoint }) },
    }),
  };
}

/**
 * The hash that the signature covers is the SHA-256 that the caller gave as the object's checksum: the store refuses bytes
 * that changed on the way, also a store that knows no checksums, and nothing is hashed twice.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
 */
function addPayloadHash(client: S3Client): void {
  client.middlewareStack.add(
    (next) => (args) => {
      const { headers } = args.request as { headers?: Record<string, string> };
      const checksum = headers?.['x-amz-checksum-sha256'];
      if (headers && checksum !== undefined)
        headers['x-amz-content-sha256'] = Buffer.from(checksum, 'base64').toString('hex');
      return next(args);
    },
    { step: 'build', name: 'helvinoPayloadHash' },
  );
}

/**
 * A host whose clock is wrong is refused once; from then on the SDK signs by the store's clock. Bodies that are streams are
 * left to the caller: a first request with one is refused only where none was made before.
 */
function askAgainAtTheRightTime(client: S3Client): void {
  client.middlewareStack.add(
    (next) => async (args) => {
      try {
        return await next(args);
      } catch (thrown) {
        const { $metadata: facts } = thrown as { $metadata?: { clockSkewCorrected?: boolean } };
        const { body } = args.request as { body?: unknown };
        if (!facts?.clockSkewCorrected || body instanceof Readable) throw thrown;
        return next(args);
      }
    },
    { step: 'build', priority: 'low', name: 'helvinoClockSkew' },
  );
}

function watchDates(client: S3Client): () => Date | undefined {
  let last: Date | undefined;
  client.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args);
      const date = (result.response as { headers?: Record<string, string> }).headers?.date;
      const parsed = date === undefined ? Number.NaN : Date.parse(date);
      if (!Number.isNaN(parsed)) last = new Date(parsed);
      return result;
    },
    { step: 'deserialize', priority: 'low', name: 'helvinoStoreClock' },
  );
  return () => last;
}
