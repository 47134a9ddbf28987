import { after, test } from 'node:test';
import { openS3Driver } from './s3.ts';
import type { S3Options } from './s3-options.ts';
import { registerStorageContract } from './testing/contract.ts';
import { type BucketKind, startS3Server } from './testing/s3-server.ts';

const server = await startS3Server();

if (typeof server === 'string') test('storage contract on S3', { skip: server }, () => undefined);
else {
  after(() => server.stop());
  const open = (kind: BucketKind, more: Partial<S3Options>) => async () => {
    const driver = await openS3Driver(server.options(await server.bucket(kind), more));
    return { driver, close: () => driver.close() };
  };
  // A page of a list has a thousand.
  registerStorageContract('S3', open('plain', { multipartAbove: 1 << 30 }), 1050);
  registerStorageContract(
    'S3 with a prefix, in parts, encrypted',
    open('plain', {
      prefix: 'some/where',
      multipartAbove: 5 << 20,
      encryption: { kind: 'AES256' },
      storageClasses: [{ prefix: 'packs/', storageClass: 'STANDARD_IA' }],
    }),
    100,
  );
  registerStorageContract('S3 with versions', open('versioned', {}), 100);
  registerStorageContract('S3 with object lock', open('locked', { lock: 'GOVERNANCE' }), 100);
}
