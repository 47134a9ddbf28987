/** The backups of a repository, with what is known of each. */
import { HelvinoError } from '../base/errors.ts';
import { NumberSet } from '../base/number-set.ts';
import { type ManifestSummary, PackList, type Repository, type SizedPack } from '../repository/index.ts';
import { standingProof } from './drill/proof/index.ts';
import type { DrillReport } from './drill/report.ts';

export interface ListedBackup {
  readonly database: string;
  readonly id: string;
  readonly committed: Date;
  readonly manifest?: ManifestSummary;
  /** Why the manifest cannot be read. */
  readonly damaged?: string;
  /** The drill of it that counts: see standingProof. */
  readonly proof?: DrillReport;
}

/** Bytes of the packs that no other backup of its database names. */
export async function bytesOfAlone(repository: Repository, { database, id }: ListedBackup): Promise<number> {
  const own = new PackList();
  await repository.summary(database, id, (pack) => own.add(pack));
  const shared = new NumberSet();
  for (const other of await repository.backups(database)) {
    if (other.id === id) continue;
    const share = (pack: SizedPack) => {
      const number = own.numberOf(pack.id);
      if (number !== undefined) shared.add(number);
    };
    // One that is damaged frees nothing either way.
    await repository.summary(database, other.id, share).catch(() => undefined);
  }
  return own.select((number) => !shared.has(number)).bytes;
}

/** In order of time. A damaged manifest does not hide the others. */
export async function listBackups(repository: Repository, database?: string): Promise<ListedBackup[]> {
  const listed: ListedBackup[] = [];
  for (const name of await repository.backups(database)) {
    try {
      const manifest = await repository.summary(name.database, name.id);
      const proofs = await repository.proofs(name.id).catch(() => []);
      listed.push({
        ...name,
        manifest,
        proof: standingProof(proofs.map(({ proof }) => proof as DrillReport)),
      });
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError) || !thrown.code.startsWith('REPOSITORY_')) throw thrown;
      listed.push({ ...name, damaged: thrown.message });
    }
  }
  for (const name of await repository.lostBackups(database)) {
    listed.push({ ...name, damaged: 'the manifest is missing: the ledger says that this backup was made' });
  }
  return listed.sort((a, b) => (a.id < b.id ? -1 : 1));
}
