import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { openFsDriver, openMemoryDriver, withLimit, withRetry } from './index.ts';
import { registerStorageContract } from './testing/contract.ts';

registerStorageContract('fs', async () => {
  const root = await mkdtemp(join(tmpdir(), 'helvino-fs-'));
  return { driver: await openFsDriver({ root }), close: () => rm(root, { recursive: true }) };
});

registerStorageContract('memory', async () => ({ driver: openMemoryDriver(), close: async () => undefined }));

registerStorageContract('memory behind retry and limit', async () => {
  const retrying = withRetry(openMemoryDriver(), { attempts: 3, baseMs: 1, clock: systemClock });
  return { driver: withLimit(retrying, { concurrency: 3 }), close: async () => undefined };
});
