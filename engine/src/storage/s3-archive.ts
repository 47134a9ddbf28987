/**
 * Archive classes of S3: which objects may go there (tags and lifecycle rules), and how they come back (thawing).
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/restoring-objects.html
 */
import {
  GetBucketLifecycleConfigurationCommand,
  HeadObjectCommand,
  type LifecycleRule,
  PutBucketLifecycleConfigurationCommand,
  PutObjectTaggingCommand,
  RestoreObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { connectS3 } from './s3-client.ts';
import { s3Error, s3Reason } from './s3-errors.ts';
import type { S3Options } from './s3-options.ts';

/** `archived`: must be asked for; `thawing`: was asked for. */
export type ArchiveState = 'readable' | 'archived' | 'thawing';

export type ThawTier = 'Bulk' | 'Standard' | 'Expedited';

export interface Transition {
  readonly days: number;
  readonly storageClass: 'GLACIER' | 'DEEP_ARCHIVE';
}

const archiveClasses = ['GLACIER', 'DEEP_ARCHIVE'];
const tag = { Key: 'helvino', Value: 'archive' };

export class S3Archive {
  readonly #client: S3Client;
  readonly #options: S3Options;

  constructor(options: S3Options) {
    this.#options = options;
    this.#client = connectS3(options).client;
  }

  /** `storageClass` is undefined for that of the bucket. */
  async stateOf(name: string): Promise<{ state: ArchiveState; storageClass: string | undefined }> {
    const { StorageClass: storageClass, Restore } = await this.#doing('look at', name, () =>
      this.#client.send(new HeadObjectCommand(this.#target(name))),
    );
    const archived = archiveClasses.includes(storageClass ?? '');
    if (!archived) return { state: 'readable', storageClass };
    if (Restore === undefined) return { state: 'archived', storageClass };
    return { state: /ongoing-request="true"/.test(Restore) ? 'thawing' : 'readable', storageClass };
  }

  /** Asks for a copy that can be read for `days`. Asking twice does no harm. */
  async thaw(name: string, { days, tier }: { days: number; tier: ThawTier }): Promise<void> {
    await this.#doing('ask for', name, async () => {
      const RestoreRequest = { Days: days, GlacierJobParameters: { Tier: tier } };
      try {
        await this.#client.send(new RestoreObjectCommand({ ...this.#target(name), RestoreRequest }));
      } catch (thrown) {
        if (s3Reason(thrown) !== 'RestoreAlreadyInProgress') throw thrown;
      }
    });
  }

  /** From now on the rule for archiving counts for this object. */
  async mark(name: string): Promise<void> {
    await this.#doing('tag', name, () =>
      this.#client.send(new PutObjectTaggingCommand({ ...this.#target(name), Tagging: { TagSet: [tag] } })),
    );
  }

  /** Our rules in place of our earlier ones; those of others stay. Returns false when all was so already. */
  async putRules(transitions: readonly Transition[]): Promise<boolean> {
    const { bucket: Bucket } = this.#options;
    const ours = this.rules(transitions);
    return this.#doing('set lifecycle rules of', '', async () => {
      const present = await this.#presentRules();
      const others = present.filter(({ ID }) => !ours.some((rule) => rule.ID === ID));
      const same = ours.every((rule) =>
        present.some(
          (one) => one.ID === rule.ID && JSON.stringify(comparable(one)) === JSON.stringify(comparable(rule)),
        ),
      );
      if (same) return false;
      const LifecycleConfiguration = { Rules: [...others, ...ours] };
      await this.#client.send(new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration }));
      return true;
    });
  }

  rules(transitions: readonly Transition[]): LifecycleRule[] {
    const { bucket, prefix } = this.#options;
    const root = prefix === '' ? '' : `${prefix}/`;
    const id = (what: string) => `helvino-${what}-${prefix === '' ? bucket : prefix.replaceAll('/', '-')}`;
    return [
      {
        ID: id('archive'),
        Status: 'Enabled',
        Filter: { And: { Prefix: `${root}packs/`, Tags: [tag] } },
        Transitions: transitions.map(({ days, storageClass }) => ({
          Days: days,
          StorageClass: storageClass,
        })),
      },
      {
        ID: id('unfinished'),
        Status: 'Enabled',
        Filter: { Prefix: root },
        AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 },
      },
    ];
  }

  close(): void {
    this.#client.destroy();
  }

  async #presentRules(): Promise<LifecycleRule[]> {
    try {
      const command = new GetBucketLifecycleConfigurationCommand({ Bucket: this.#options.bucket });
      return (await this.#client.send(command)).Rules ?? [];
    } catch (thrown) {
      if (s3Reason(thrown) === 'NoSuchLifecycleConfiguration') return [];
      throw thrown;
    }
  }

  #target(name: string): { Bucket: string; Key: string } {
    const { bucket, prefix } = this.#options;
    return { Bucket: bucket, Key: prefix === '' ? name : `${prefix}/${name}` };
  }

  async #doing<Result>(doing: string, name: string, work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (thrown) {
      throw s3Error(thrown, doing, name, `s3://${this.#options.bucket}`);
    }
  }
}

/** What a rule does, without what stores add. */
function comparable(rule: LifecycleRule): unknown {
  const transitions = (rule.Transitions ?? []).map(({ Days, StorageClass }) => [Days, StorageClass]);
  return [rule.Status, transitions.sort(), rule.AbortIncompleteMultipartUpload?.DaysAfterInitiation];
}
