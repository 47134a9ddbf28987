/**
 * Results of verifications, so that their age can be watched: `verifications/<database>/<id>`, ids sort by time. An envelope
 * with JSON.
 */
import { HelvinoError } from '../base/errors.ts';
import { openEnvelope, sealEnvelope } from './envelope.ts';
import { verificationsPrefix } from './layout.ts';
import type { Repository } from './repository.ts';

const magic = 'HVVERI1\n';

export async function putVerification(
  repository: Repository,
  { database, id, result }: { database: string; id: string; result: unknown },
): Promise<void> {
  const name = `${verificationsPrefix}${database}/${id}`;
  const body = sealEnvelope(Buffer.from(JSON.stringify(result)), { ring: repository.ring, name, magic });
  await repository.driver.put(name, [body], { ifAbsent: true });
}

/** Undefined when there was none yet. Throws REPOSITORY_DAMAGED, KEY_WRONG. */
export async function lastVerification(repository: Repository, database: string): Promise<unknown> {
  const name = (await verificationNames(repository, database)).at(-1);
  return name === undefined ? undefined : readVerification(repository, name);
}

/** Throws REPOSITORY_DAMAGED, KEY_WRONG. */
export async function readVerification(
  { driver, ring }: Pick<Repository, 'driver' | 'ring'>,
  name: string,
): Promise<unknown> {
  const plain = openEnvelope(await driver.get(name), { ring, name, magic });
  return JSON.parse(Buffer.from(plain).toString('utf8'));
}

/** Oldest first; `wanted` of the id. Throws REPOSITORY_DAMAGED, KEY_WRONG. */
export async function listVerifications(
  repository: Repository,
  database: string,
  wanted: (id: string) => boolean,
): Promise<unknown[]> {
  const results: unknown[] = [];
  for (const name of await verificationNames(repository, database)) {
    if (!wanted(name.slice(name.lastIndexOf('/') + 1))) continue;
    results.push(await readVerification(repository, name));
  }
  return results;
}

/** All but the newest `keep`. */
export async function removeOldVerifications(
  repository: Repository,
  { database, keep }: { database: string; keep: number },
): Promise<void> {
  const names = await verificationNames(repository, database);
  for (const name of names.slice(0, Math.max(0, names.length - keep))) {
    try {
      await repository.driver.remove(name);
    } catch (thrown) {
      if (thrown instanceof HelvinoError && thrown.code === 'STORAGE_DENIED') return;
      throw thrown;
    }
  }
}

/** Oldest first. */
export async function verificationNames(
  { driver }: Pick<Repository, 'driver'>,
  database: string,
): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of driver.list(`${verificationsPrefix}${database}/`)) names.push(name);
  return names;
}
