/** What an answer of an S3 store means for a store, and what the user can do about it. */
import type { ErrorCode } from '../base/error-codes.ts';
import { HelvinoError, systemCode } from '../base/errors.ts';

const away = 'check the endpoint, the network and the state of the service, then try again';
const credentials = 'check the credentials of this repository in helvino.yaml, and that they are not expired';
const policy =
  'the policy of these credentials must allow this: deploy/iam has least-privilege policies; retained objects cannot be removed by anyone';
const gone = 'check bucket, region and endpoint in helvino.yaml; objects are not taken for absent meanwhile';
const region = 'set `region` to the region of the bucket';

/** https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html */
const meanings: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  NoSuchKey: [
    'STORAGE_NOT_FOUND',
    'list the repository to see what is there; if an object vanished, run helvino verify',
  ],
  NoSuchVersion: ['STORAGE_NOT_FOUND', 'the version was removed; run helvino verify'],
  NoSuchBucket: ['STORAGE_UNAVAILABLE', gone],
  InvalidRange: ['STORAGE_SHORT_READ', 'run helvino verify'],
  PreconditionFailed: ['STORAGE_EXISTS', 'nothing is overwritten; choose another name'],
  ConditionalRequestConflict: ['STORAGE_UNAVAILABLE', 'another writer was at work; try again'],
  OperationAborted: ['STORAGE_UNAVAILABLE', 'another change was at work; try again'],
  AccessDenied: ['STORAGE_DENIED', policy],
  AllAccessDisabled: ['STORAGE_DENIED', policy],
  AccountProblem: ['STORAGE_DENIED', 'ask the provider: the account is blocked'],
  InvalidAccessKeyId: ['STORAGE_DENIED', credentials],
  SignatureDoesNotMatch: ['STORAGE_DENIED', credentials],
  ExpiredToken: ['STORAGE_DENIED', credentials],
  InvalidToken: ['STORAGE_DENIED', credentials],
  UserSuspended: ['STORAGE_DENIED', credentials],
  CredentialsProviderError: [
    'STORAGE_DENIED',
    'no credentials were found: name a profile, a role or keys in helvino.yaml',
  ],
  TokenProviderError: ['STORAGE_DENIED', credentials],
  AuthorizationHeaderMalformed: ['STORAGE_DENIED', region],
  PermanentRedirect: ['STORAGE_DENIED', region],
  IllegalLocationConstraintException: ['STORAGE_DENIED', region],
  InvalidObjectState: ['STORAGE_ARCHIVED', 'ask for it back first: `helvino restore --thaw` does, and waits'],
  InvalidStorageClass: [
    'CONFIG_INVALID',
    'this store has no such storage class: change storageClass in helvino.yaml',
  ],
  QuotaExceeded: ['STORAGE_FULL', 'raise the quota, or collect garbage'],
  InsufficientCapacity: ['STORAGE_FULL', 'the store is full'],
  RequestTimeTooSkewed: ['STORAGE_UNAVAILABLE', 'set the clock of this host (NTP)'],
  RequestTimeout: ['STORAGE_UNAVAILABLE', away],
  SlowDown: ['STORAGE_UNAVAILABLE', 'the store is busy; lower `connections` if this stays'],
  BadDigest: ['STORAGE_IO', 'bytes changed on the way to the store; check the network'],
  XAmzContentSHA256Mismatch: ['STORAGE_IO', 'bytes changed on the way to the store; check the network'],
  InvalidDigest: ['STORAGE_IO', 'bytes changed on the way to the store; check the network'],
  TimeoutError: ['STORAGE_UNAVAILABLE', away],
};

const certificates = /CERT|SELF_SIGNED|UNABLE_TO_(VERIFY|GET)/;

interface S3Failure {
  readonly name?: string;
  readonly Code?: string;
  readonly message?: string;
  readonly $metadata?: { readonly httpStatusCode?: number; readonly requestId?: string };
}

/** `doing`: `write`, `read` …; `name`: the object or prefix. Our own errors pass through. */
export function s3Error(thrown: unknown, doing: string, name: string, place: string): HelvinoError {
  if (thrown instanceof HelvinoError) return thrown;
  const failure = (thrown ?? {}) as S3Failure;
  const status = failure.$metadata?.httpStatusCode;
  const reason = failure.Code ?? failure.name ?? 'Error';
  const [code, hint] = meanings[reason] ?? byNetwork(thrown) ?? byStatus(status);
  const said = failure.message && failure.message !== 'UnknownError' ? `: ${failure.message}` : '';
  const what = [reason, status].filter((part) => part !== undefined && part !== 'Error').join(' ');
  return new HelvinoError(
    code,
    `cannot ${doing} ${name || 'the bucket'} in ${place}${what && ` (${what})`}${said}`,
    {
      hint,
      cause: thrown,
      context: { name, place, reason, status, requestId: failure.$metadata?.requestId },
    },
  );
}

export function httpStatus(thrown: unknown): number | undefined {
  return (thrown as S3Failure | undefined)?.$metadata?.httpStatusCode;
}

/** The S3 error code, or the name of the exception. */
export function s3Reason(thrown: unknown): string | undefined {
  const failure = thrown as S3Failure | undefined;
  return failure?.Code ?? failure?.name;
}

function byNetwork(thrown: unknown): readonly [ErrorCode, string] | undefined {
  const errno = systemCode(thrown) ?? systemCode((thrown as { cause?: unknown } | undefined)?.cause);
  if (errno === undefined) return undefined;
  if (certificates.test(errno))
    return [
      'STORAGE_DENIED',
      'the certificate of the endpoint is not trusted: give its authority with NODE_EXTRA_CA_CERTS',
    ];
  return ['STORAGE_UNAVAILABLE', away];
}

function byStatus(status: number | undefined): readonly [ErrorCode, string] {
  // No answer at all, and nothing that says why: the connection broke.
  if (status === undefined) return ['STORAGE_UNAVAILABLE', away];
  if (status >= 500 || status === 408 || status === 429) return ['STORAGE_UNAVAILABLE', away];
  // A 404 that does not say what is missing: a proxy, or a store that is not there.
  if (status === 404) return ['STORAGE_UNAVAILABLE', gone];
  if (status === 412) return ['STORAGE_EXISTS', 'nothing is overwritten; choose another name'];
  if (status === 416) return ['STORAGE_SHORT_READ', 'run helvino verify'];
  if (status >= 200 && status < 300)
    return ['STORAGE_UNAVAILABLE', 'the answer of the store could not be read; try again'];
  return ['STORAGE_DENIED', policy];
}
