/** What there is now, to be compared with what a drill has proven: of the newest backup of the same kind. */
import { HelvinoError } from '../../../base/errors.ts';
import { type BackupMethod, methodOf } from '../../../catalog/index.ts';
import { chooseDatabase, type LoadedConfig, parseDuration } from '../../../config/index.ts';
import type { Manifest, Repository } from '../../../repository/index.ts';
import { fingerprintOf } from './fingerprint.ts';
import type { ProofFacts } from './proof-state.ts';

export interface CurrentOptions {
  readonly repository: Repository;
  readonly database: string;
  readonly loaded: LoadedConfig | undefined;
  readonly now: Date;
  /** How long a proof is good for, if not as configured; seconds. */
  readonly every?: number;
}

/** Without a configuration; that of `health.drillEvery`. */
const usualCadence = '32d';

/** Reads the newest backup of each kind once. */
export class CurrentFacts {
  readonly #options: CurrentOptions;
  readonly #known = new Map<BackupMethod, Promise<ProofFacts>>();

  constructor(options: CurrentOptions) {
    this.#options = options;
  }

  of(kind: BackupMethod): Promise<ProofFacts> {
    const known = this.#known.get(kind);
    if (known !== undefined) return known;
    const facts = this.#read(kind);
    this.#known.set(kind, facts);
    return facts;
  }

  async #read(kind: BackupMethod): Promise<ProofFacts> {
    const { repository, database, loaded, now, every: given } = this.#options;
    // A repository can hold databases that this configuration does not name.
    const configured =
      loaded?.config.databases[database] === undefined
        ? undefined
        : { config: loaded.config, chosen: chooseDatabase(loaded, database) };
    const every = given ?? configured?.chosen.database.health.drillEvery ?? parseDuration(usualCadence);
    const manifest = await newestOf(repository, database, kind);
    const fingerprint = manifest ? await fingerprintOf({ repository, manifest, configured }) : {};
    return { now, every, fingerprint };
  }
}

async function newestOf(
  repository: Repository,
  database: string,
  kind: BackupMethod,
): Promise<Manifest | undefined> {
  for (const { id } of (await repository.backups(database)).reverse()) {
    try {
      const manifest = await repository.manifest(database, id);
      if (methodOf(manifest) === kind) return manifest;
    } catch (thrown) {
      // Damaged, or removed since it was listed: others say what there is.
      if (!(thrown instanceof HelvinoError) || !/^(REPOSITORY|BACKUP)_/.test(thrown.code)) throw thrown;
    }
  }
  return undefined;
}
