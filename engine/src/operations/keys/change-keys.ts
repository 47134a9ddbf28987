/** Changes to who can restore: the repository's sealings and helvino.yaml together. */
import { asHelvinoError, HelvinoError } from '../../base/errors.ts';
import { type FileChange, prepareChange } from '../../base/replace-file.ts';
import { setRecipients } from '../../config/index.ts';
import {
  addCatalogKey,
  formatCatalogRing,
  type Identities,
  nextCatalogRing,
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
  const { file, repository, recipients } = change;
  // Ready before: a file that kept the old recipients would have the next backup sealed to them.
  await using naming = await nameRecipients(change);
  const plan = await reseal(repository, { recipients, identities });
  await commitAfter(
    naming,
    `every key is sealed to ${recipients.join(', ')} already: name exactly these under \`recipients\` in ${file} before the next backup`,
  );
  return plan;
}

/** Only what is written from now on: the keys that are there stay as they are. */
export async function changeFutureRecipients(change: ChangeKeys): Promise<void> {
  await planReseal(change.repository, change.recipients);
  await using naming = await nameRecipients(change);
  await naming.commit();
}

function nameRecipients({ file, repositoryNames, recipients }: ChangeKeys): Promise<FileChange> {
  return prepareChange(file, (text) =>
    repositoryNames.reduce((changed, name) => setRecipients(changed, name, recipients), text),
  );
}

/** A new catalog key for this host, written to its file beside the old ones. Returns its id. */
export async function rotateCatalogKey(
  { repository, recipients }: ChangeKeys,
  keyFile: string,
): Promise<string> {
  const ring = nextCatalogRing(repository);
  await using keeping = await prepareChange(keyFile, () => formatCatalogRing(ring.keys));
  // Nothing may be written under a key that no recipient can open, so the file has it last.
  await addCatalogKey(repository, ring, recipients);
  await commitAfter(
    keeping,
    `the repository has the new key ${ring.currentId}, which nothing uses: this host goes on with the old one until the command is run again`,
  );
  return ring.currentId;
}

/** `state`: of the repository, which is changed already, and what to do. */
async function commitAfter(change: FileChange, state: string): Promise<void> {
  await change.commit().catch((thrown: unknown) => {
    const { code, message, hint, context } = asHelvinoError(thrown);
    throw new HelvinoError(code, message, { cause: thrown, context, hint: `${hint}; ${state}` });
  });
}
