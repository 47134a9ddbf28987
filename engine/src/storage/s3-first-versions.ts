/**
 * The first version of every object in a bucket with versions, read-only. Helvino writes each name once, so the first version
 * is what Helvino wrote, whatever was put over it or deleted since by someone who must not. Every read asks for the versions
 * first: a way to recover, not to work.
 */
import {
  GetObjectCommand,
  ListObjectVersionsCommand,
  type ListObjectVersionsCommandOutput,
  type ObjectVersion,
} from '@aws-sdk/client-s3';
import { HelvinoError } from '../base/errors.ts';
import type { ByteRange, ObjectFacts, StorageDriver } from './driver.ts';
import { assertObjectName, assertPrefix, assertRange, isObjectName } from './names.ts';
import { readBody } from './s3-body.ts';
import { connectS3, type S3Connection } from './s3-client.ts';
import { s3Error } from './s3-errors.ts';
import type { S3Options } from './s3-options.ts';

interface FirstVersion extends ObjectFacts {
  readonly version: string;
}

/** `current`: the driver of the same bucket, for its place, its clock and its end. */
export function firstVersionsOf(current: StorageDriver, options: S3Options): StorageDriver {
  const place = `${current.capabilities.place}&versions=first`;
  const view = new FirstVersions(connectS3(options), options, place);
  const refuse = async () => {
    throw new HelvinoError(
      'STORAGE_DENIED',
      `${place} is a view of first versions: nothing is written there`,
      {
        hint: 'leave out `versions: first` to write',
      },
    );
  };
  return {
    capabilities: { kind: 's3', place, retention: false, distant: true },
    put: refuse,
    remove: refuse,
    extendRetention: refuse,
    get: (name, range, into) => view.get(name, range, into),
    head: async (name) => (await view.find(name))?.facts,
    list: (prefix) => view.list(prefix),
    now: () => current.now(),
    close: async () => {
      view.close();
      await current.close();
    },
  };
}

class FirstVersions {
  readonly #connection: S3Connection;
  readonly #options: S3Options;
  readonly #place: string;

  constructor(connection: S3Connection, options: S3Options, place: string) {
    this.#connection = connection;
    this.#options = options;
    this.#place = place;
  }

  async get(name: string, range?: ByteRange, into?: Uint8Array): Promise<Uint8Array> {
    assertObjectName(name);
    assertRange(name, range, into);
    const first = await this.find(name);
    if (first === undefined)
      throw new HelvinoError('STORAGE_NOT_FOUND', `${name} never was in ${this.#place}`, {
        context: { name },
      });
    if (range?.length === 0 && range.offset <= first.facts.size)
      return (into ?? new Uint8Array(0)).subarray(0, 0);
    try {
      const answer = await this.#connection.client.send(
        new GetObjectCommand({
          Bucket: this.#options.bucket,
          Key: this.#key(name),
          VersionId: first.version,
          Range: range && `bytes=${range.offset}-${range.offset + Math.max(1, range.length) - 1}`,
        }),
      );
      return await readBody(answer, { name, range, into, place: this.#place });
    } catch (thrown) {
      throw s3Error(thrown, 'read', name, this.#place);
    }
  }

  async find(name: string): Promise<{ readonly facts: ObjectFacts; readonly version: string } | undefined> {
    assertObjectName(name);
    for await (const { version, ...facts } of this.#all(name)) {
      if (facts.name === name) return { facts, version };
      // Names come in order, and those that begin so come after it.
      break;
    }
    return undefined;
  }

  async *list(prefix: string): AsyncGenerator<ObjectFacts, void, void> {
    assertPrefix(prefix);
    for await (const { version: _, ...facts } of this.#all(prefix)) yield facts;
  }

  close(): void {
    this.#connection.client.destroy();
  }

  /** The versions of a name come together, the oldest last. */
  async *#all(prefix: string): AsyncGenerator<FirstVersion, void, void> {
    let oldest: FirstVersion | undefined;
    for await (const entry of this.#versions(prefix)) {
      const name = this.#nameOf(entry.Key ?? '');
      if (name === undefined || entry.VersionId === undefined) continue;
      if (oldest !== undefined && oldest.name !== name) yield oldest;
      oldest = {
        name,
        size: entry.Size ?? 0,
        modified: entry.LastModified ?? new Date(Number.NaN),
        version: entry.VersionId,
      };
    }
    if (oldest !== undefined) yield oldest;
  }

  async *#versions(prefix: string): AsyncGenerator<ObjectVersion, void, void> {
    let marker: { KeyMarker?: string; VersionIdMarker?: string } | undefined = {};
    while (marker !== undefined) {
      let page: ListObjectVersionsCommandOutput;
      try {
        page = await this.#connection.client.send(
          new ListObjectVersionsCommand({
            Bucket: this.#options.bucket,
            Prefix: this.#key(prefix),
            ...marker,
          }),
        );
      } catch (thrown) {
        throw s3Error(thrown, 'list', prefix, this.#place);
      }
      yield* page.Versions ?? [];
      marker = page.IsTruncated
        ? { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker }
        : undefined;
    }
  }

  #key(name: string): string {
    const { prefix } = this.#options;
    return prefix === '' ? name : `${prefix}/${name}`;
  }

  #nameOf(key: string): string | undefined {
    const root = this.#key('');
    const name = key.slice(root.length);
    return key.startsWith(root) && isObjectName(name) ? name : undefined;
  }
}
