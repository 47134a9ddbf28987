/** The backups of a repository, with what is known of each. */
import { HelvinoError } from '../base/errors.ts';
import type { Manifest, Repository } from '../repository/index.ts';
import { standingProof } from './drill/report/index.ts';
import type { DrillReport } from './drill/report.ts';

export interface ListedBackup {
  readonly database: string;
  readonly id: string;
  readonly committed: Date;
  readonly manifest?: Manifest;
  /** Why the manifest cannot be read. */
  readonly damaged?: string;
  /** The drill of it that counts: see standingProof. */
  readonly proof?: DrillReport;
}

/** In order of time. A damaged manifest does not hide the others. */
export async function listBackups(repository: Repository, database?: string): Promise<ListedBackup[]> {
  const listed: ListedBackup[] = [];
  for (const name of await repository.backups(database)) {
    try {
      const manifest = await repository.manifest(name.database, name.id);
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
