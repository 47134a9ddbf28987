/**
 * Changing who can open a repository. Each change adds new sealings of every key first and removes old ones last, so that
 * a change that stops half-way leaves every key openable by the old recipients or by both, and can be run again.
 */
import { HelvinoError } from '../base/errors.ts';
import { newKey } from './crypto.ts';
import { type CatalogRing, catalogRing, checkRecipient, type Identities, openKey, sealKey } from './keys.ts';
import { catalogKeysPrefix, dataKeysPrefix, sealingName } from './layout.ts';
import type { Repository } from './repository.ts';

export interface ResealPlan {
  /** How many keys are sealed anew. */
  readonly keys: number;
  /** Old sealings that will be removed. */
  readonly obsolete: readonly string[];
}

/** What sealing every key to exactly `recipients` takes. */
export async function planReseal(repository: Repository, recipients: readonly string[]): Promise<ResealPlan> {
  if (recipients.length === 0) {
    throw new HelvinoError('USAGE', 'the last recipient cannot be removed: nobody could restore', {
      hint: 'add another recipient first',
    });
  }
  for (const recipient of recipients) await checkRecipient(recipient);
  let keys = 0;
  const obsolete: string[] = [];
  for (const prefix of [catalogKeysPrefix, dataKeysPrefix]) {
    const kind = prefix === dataKeysPrefix ? 'data' : 'catalog';
    for (const keyId of await repository.sealedKeys(kind)) {
      const wanted = sealingName(prefix, keyId, recipients);
      let done = false;
      for await (const { name } of repository.driver.list(`${prefix}${keyId}/`)) {
        if (name === wanted) done = true;
        else obsolete.push(name);
      }
      if (!done) keys++;
    }
  }
  return { keys, obsolete };
}

/** Seals every key to exactly `recipients`. Needs an identity that opens them all. Throws KEY_WRONG before it changes anything. */
export async function reseal(
  repository: Repository,
  { recipients, identities }: { recipients: readonly string[]; identities: Identities },
): Promise<ResealPlan> {
  const plan = await planReseal(repository, recipients);
  const opened: { prefix: string; key: Buffer }[] = [];
  for (const prefix of [catalogKeysPrefix, dataKeysPrefix]) {
    for (const keyId of await repository.sealedKeys(prefix === dataKeysPrefix ? 'data' : 'catalog')) {
      const request = { prefix, keyId, repositoryId: repository.id, identities };
      opened.push({ prefix, key: (await openKey(repository.driver, request)).key });
    }
  }
  for (const { prefix, key } of opened)
    await sealKey(repository.driver, { prefix, key, repositoryId: repository.id, recipients });
  for (const name of plan.obsolete) await repository.driver.remove(name);
  return plan;
}

/** A new catalog key before the old ones: what is written from now on is opened by it. The next backup is a full one. */
export function nextCatalogRing({ ring }: Repository): CatalogRing {
  return catalogRing([newKey(), ...ring.keys]);
}

/** The newest key of `ring`, for `recipients`: before anything is written under it. */
export async function addCatalogKey(
  repository: Repository,
  ring: CatalogRing,
  recipients: readonly string[],
): Promise<void> {
  await sealKey(repository.driver, {
    prefix: catalogKeysPrefix,
    key: ring.current,
    repositoryId: repository.id,
    recipients,
  });
}
