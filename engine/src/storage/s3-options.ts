/** What the S3 driver is told. Values come from the configuration; the driver reads no environment of its own. */
export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

export interface S3Role {
  /** `arn:aws:iam::…:role/…`, taken with STS. */
  readonly arn: string;
  readonly externalId?: string;
  /** Of the STS of a compatible store; undefined: Amazon's. */
  readonly endpoint?: string;
}

export interface S3Encryption {
  readonly kind: 'AES256' | 'aws:kms';
  /** For `aws:kms`: the key's id or ARN; without it the bucket owner's default key. */
  readonly keyId?: string;
}

export interface S3Options {
  readonly bucket: string;
  /** Before every name, without `/` at its ends; '' for none. */
  readonly prefix: string;
  readonly region: string;
  /** Of a compatible store, `https://s3.example.com`; undefined: Amazon's. */
  readonly endpoint?: string;
  /** `endpoint/bucket/…` in place of `bucket.endpoint/…`. */
  readonly pathStyle: boolean;
  /** Fixed keys; else `profile`; else the usual chain: variables, profile, web identity, container, instance. */
  readonly credentials?: S3Credentials;
  readonly profile?: string;
  /** Taken with the credentials above. */
  readonly role?: S3Role;
  /** The first that fits a name counts; names that none fits go to the bucket's default class. */
  readonly storageClasses?: readonly { readonly prefix: string; readonly storageClass: string }[];
  readonly encryption?: S3Encryption;
  /** Turns retention on; the bucket must have been made with object lock. */
  readonly lock?: 'GOVERNANCE' | 'COMPLIANCE';
  /** Objects above this many bytes are sent in parts. Default 64 MiB, at least 5 MiB. */
  readonly multipartAbove?: number;
  /** Connections at a time. Default 16. */
  readonly connections?: number;
  /** A connection on which nothing moves for so long is given up. Default 60 s. */
  readonly idleMs?: number;
}
