import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { openFsDriver, openMemoryDriver, withLimit, withRetry } from './index.ts';
import { registerStorageContract } from './testing/contract.ts';
import { faultHooks } from './testing/faulty-driver.ts';

registerStorageContract('fs', async () => {
  const root = await mkdtemp(join(tmpdir(), 'helvino-fs-'));
  return { driver: await openFsDriver({ root }), close: () => rm(root, { recursive: true }) };
});

registerStorageContract('fs without hard links', async () => {
  const root = await mkdtemp(join(tmpdir(), 'helvino-fs-'));
  const hooks = faultHooks({
    points: [{ point: 'put.link', nth: 1, times: Number.MAX_SAFE_INTEGER, errno: 'EPERM' }],
  });
  return { driver: await openFsDriver({ root, hooks }), close: () => rm(root, { recursive: true }) };
});

registerStorageContract('memory', async () => ({ driver: openMemoryDriver(), close: async () => undefined }));

registerStorageContract('memory behind retry and limit', async () => {
  const retrying = withRetry(openMemoryDriver(), { attempts: 3, baseMs: 1, clock: systemClock });
  return { driver: withLimit(retrying, { concurrency: 3 }), close: async () => undefined };
});
