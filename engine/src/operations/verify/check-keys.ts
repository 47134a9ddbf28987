/** Checks keys: each that is needed is there, and with a recovery identity each opens. */
import { HelvinoError } from '../../base/errors.ts';
import type { Identities, Manifest, Repository } from '../../repository/index.ts';

export interface CheckedKeys {
  /** Data keys by id; none without an identity. */
  readonly keys: ReadonlyMap<string, Uint8Array>;
  /** Data keys that are missing or damaged, and why. */
  readonly dataFaults: ReadonlyMap<string, string>;
  /** Catalog keys that are missing or damaged: nobody but this host could open the repository. */
  readonly catalogFaults: ReadonlyMap<string, string>;
}

/** Throws KEY_WRONG when the identity opens no key at all: then it is the identity that is wrong. */
export async function checkKeys(
  repository: Repository,
  { manifests, identities }: { manifests: readonly Pick<Manifest, 'keys'>[]; identities?: Identities },
): Promise<CheckedKeys> {
  const opening = new Opening();
  const keys = new Map<string, Uint8Array>();
  const dataFaults = new Map<string, string>();
  const sealed = await repository.sealedKeys('data');
  for (const keyId of new Set(manifests.flatMap((manifest) => manifest.keys))) {
    if (!sealed.has(keyId)) dataFaults.set(keyId, 'the sealed data key is missing');
    else if (identities) {
      const key = await opening.try(dataFaults, keyId, () => repository.dataKey(keyId, identities));
      if (key) keys.set(keyId, key);
    }
  }
  const catalogFaults = new Map<string, string>();
  const catalog = await repository.sealedKeys('catalog');
  for (const keyId of new Set([...repository.ring.ids, ...catalog])) {
    if (!catalog.has(keyId)) catalogFaults.set(keyId, 'the sealed catalog key is missing');
    else if (identities)
      await opening.try(catalogFaults, keyId, () => repository.catalogKey(keyId, identities));
  }
  opening.end();
  return { keys, dataFaults, catalogFaults };
}

class Opening {
  #opened = 0;
  #refused: HelvinoError | undefined;

  async try(
    faults: Map<string, string>,
    keyId: string,
    open: () => Promise<Uint8Array>,
  ): Promise<Uint8Array | undefined> {
    try {
      const key = await open();
      this.#opened++;
      return key;
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError) || !saysDamage(thrown)) throw thrown;
      if (thrown.code === 'KEY_WRONG') this.#refused ??= thrown;
      faults.set(keyId, thrown.message);
      return undefined;
    }
  }

  end(): void {
    if (this.#refused && this.#opened === 0) throw this.#refused;
  }
}

function saysDamage({ code }: HelvinoError): boolean {
  return ['KEY_WRONG', 'REPOSITORY_DAMAGED', 'STORAGE_NOT_FOUND', 'STORAGE_SHORT_READ'].includes(code);
}
