/** The `storage` block of a repository, and its short form as one word: a folder, or `s3://bucket/prefix?region=…`. */
import * as z from 'zod';
import { HelvinoError } from '../base/errors.ts';
import { duration } from './quantities.ts';
import { secret } from './secret.ts';

const defaultRegion = 'us-east-1';

const fsStorage = z.strictObject({
  type: z.literal('fs').describe('A folder.'),
  path: z.string().min(1).describe('The folder; relative to this file.'),
});

const storageClass = z
  .string()
  .regex(/^[A-Z][A-Z0-9_-]*$/, 'a storage class is written like STANDARD_IA')
  .optional();

const s3Storage = z.strictObject({
  type: z.literal('s3').describe('A bucket of Amazon S3 or of a compatible store.'),
  bucket: z
    .string()
    .regex(
      /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/,
      'a bucket name is 3 to 63 lower-case letters, digits, dots and dashes',
    )
    .describe('The bucket; it must be there.'),
  prefix: z
    .string()
    .regex(
      /^([A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*)?$/,
      'a prefix is parts of letters, digits, . _ -, joined by /',
    )
    .default('')
    .describe('What every name in the bucket begins with.'),
  region: z.string().min(1).default(defaultRegion).describe('The region of the bucket.'),
  endpoint: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe("URL of a compatible store; Amazon's without it."),
  pathStyle: z
    .boolean()
    .default(false)
    .describe('The bucket in the path of the URL, not in its host name; many compatible stores need it.'),
  profile: z
    .string()
    .optional()
    .describe(
      'A profile of the AWS configuration files. Without it and `credentials`: the usual chain (variables, container, instance).',
    ),
  credentials: z
    .strictObject({
      accessKeyId: secret.describe('The access key.'),
      secretAccessKey: secret.describe('Its secret.'),
      sessionToken: secret.optional().describe('For temporary keys.'),
    })
    .optional()
    .describe('Fixed keys, from variables or files.'),
  role: z
    .strictObject({
      arn: z.string().startsWith('arn:').describe('The ARN of the role.'),
      externalId: z.string().optional().describe('An external id, if the role asks for one.'),
      endpoint: z
        .url({ protocol: /^https?$/ })
        .optional()
        .describe("URL of the security token service of a compatible store; Amazon's without it."),
    })
    .optional()
    .describe('A role to take, with the credentials above.'),
  storageClass: z
    .strictObject({
      packs: storageClass.describe(
        'Of packs, which hold the data of all backups. Default: STANDARD_IA on Amazon S3.',
      ),
      wal: storageClass.describe('Of WAL. Default: that of the bucket.'),
      other: storageClass.describe('Of manifests, keys and the like, which are small.'),
    })
    .prefault({})
    .describe('The storage class for each kind of object.'),
  encryption: z
    .strictObject({
      type: z.enum(['AES256', 'aws:kms']).describe('`AES256`: keys of the store; `aws:kms`: a key of KMS.'),
      keyId: z.string().optional().describe('For `aws:kms`: id or ARN of the key.'),
    })
    .optional()
    .describe('Encryption by the store, besides that by Helvino.'),
  versions: z
    .enum(['current', 'first'])
    .default('current')
    .describe(
      '`first`: read the first version of every object, and write nothing: what Helvino stored, whatever was put over it since.',
    ),
  objectLock: z
    .strictObject({
      mode: z
        .enum(['governance', 'compliance'])
        .describe('`compliance`: nobody can remove a locked object, not even the owner of the account.'),
      keep: duration
        .optional()
        .describe(
          'How long every new object is locked; `helvino lock` extends that. Default: the longer of `retention.keep.within` and `retention.pitr`.',
        ),
    })
    .optional()
    .describe('Lock objects against removal; the bucket must have been made with object lock.'),
  connections: z.number().int().min(1).max(256).default(16).describe('The most requests at a time.'),
});

export const storage = z
  .discriminatedUnion('type', [fsStorage, s3Storage])
  .describe('Where the repository is.');

type StorageConfig = z.infer<typeof storage>;
/** As it is written in the file. */
export type StorageInput = z.input<typeof storage>;

/** Throws USAGE. `text`: a folder, or `s3://bucket/prefix?region=…&endpoint=…&pathStyle=true&profile=…`. */
export function parseStorage(text: string): StorageInput {
  if (!/^[a-z0-9]+:\/\//i.test(text)) return { type: 'fs', path: text };
  const wrong = (why: string) =>
    new HelvinoError('USAGE', `"${text}" is not a place for a repository: ${why}`, {
      hint: "a folder, or 's3://bucket/prefix?region=eu-central-1' with endpoint=URL, pathStyle=true and profile=NAME as needed",
    });
  const url = URL.parse(text);
  if (url?.protocol !== 's3:') throw wrong('only folders and s3:// are known');
  const { region, endpoint, pathStyle, profile, versions, ...unknown } = Object.fromEntries(url.searchParams);
  const [extra] = Object.keys(unknown);
  if (extra !== undefined) throw wrong(`${extra} is unknown`);
  const input: StorageInput = {
    type: 's3',
    bucket: url.hostname,
    ...(url.pathname.length > 1 ? { prefix: url.pathname.replace(/^\/+|\/+$/g, '') } : {}),
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(pathStyle === undefined ? {} : { pathStyle: pathStyle === 'true' }),
    ...(profile === undefined ? {} : { profile }),
    ...(versions === undefined ? {} : { versions: versions as 'current' | 'first' }),
  };
  const parsed = storage.safeParse(input);
  if (!parsed.success) throw wrong(parsed.error.issues.map((issue) => issue.message).join('; '));
  return input;
}

export function withDefaults(input: StorageInput): StorageConfig {
  return storage.parse(input);
}
