/** Changes to who can restore: the repository's sealings and helvino.yaml together. */
import { readFile } from 'node:fs/promises';
import { HelvinoError } from '../../base/errors.ts';
import { replaceFile } from '../../base/replace-file.ts';
import { setRecipients } from '../../config/index.ts';
import {
  addCatalogKey,
  formatCatalogRing,
  type Identities,
  planReseal,
  type Repository,
  type ResealPlan,
  reseal,
} from '../../repository/index.ts';

export interface ChangeKeys {
  readonly repository: Repository;
  /** Absolute path of helvino.yaml. */
  readonly file: string;
  /** The repository and its copies. */
  readonly repositoryNames: readonly string[];
  readonly recipients: readonly string[];
}

/** Seals every key to exactly `recipients`, then says so in helvino.yaml. */
export async function changeRecipients(change: ChangeKeys, identities: Identities): Promise<ResealPlan> {
  const plan = await reseal(change.repository, { recipients: change.recipients, identities });
  await nameRecipients(change);
  return plan;
}

/** Only what is written from now on: the keys that are there stay as they are. */
export async function changeFutureRecipients(change: ChangeKeys): Promise<void> {
  await planReseal(change.repository, change.recipients);
  await nameRecipients(change);
}

async function nameRecipients({ file, repositoryNames, recipients }: ChangeKeys): Promise<void> {
  await rewrite(file, (text) =>
    repositoryNames.reduce((changed, name) => setRecipients(changed, name, recipients), text),
  );
}

/** A new catalog key for this host, written to its file beside the old ones. Returns its id. */
export async function rotateCatalogKey(
  { repository, recipients }: ChangeKeys,
  keyFile: string,
): Promise<string> {
  const ring = await addCatalogKey(repository, recipients);
  await rewrite(keyFile, () => formatCatalogRing(ring.keys));
  return ring.currentId;
}

async function rewrite(file: string, change: (text: string) => string): Promise<void> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new HelvinoError('CONFIG_INVALID', `${file} cannot be changed: ${(cause as Error).message}`, {
      cause,
    });
  });
  await replaceFile(file, change(text));
}
