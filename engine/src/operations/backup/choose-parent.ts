/** Which earlier backup the new one is compared with, and how the data is to come. */

import { HelvinoError } from '../../base/errors.ts';
import { type BackupFacts, physicalFacts } from '../../catalog/index.ts';
import type { Manifest, ManifestSummary, Repository } from '../../repository/index.ts';
import type { SourceFacts } from './source.ts';

export type WantedKind = 'auto' | 'full' | 'incremental';

export interface Parent {
  readonly manifest: Manifest;
  readonly facts: BackupFacts;
}

/**
 * The newest backup of the same cluster whose hashes can be compared. Undefined for a full backup.
 * Throws SERVER_WRONG_CLUSTER when the database's backups are of another cluster, BACKUP_NOT_FOUND when an incremental is
 * asked for and there is no parent.
 */
export async function chooseParent(
  repository: Repository,
  {
    database,
    kind,
    source,
    newCluster,
    now,
    fullEverySeconds,
  }: {
    database: string;
    kind: WantedKind;
    source: SourceFacts;
    newCluster: boolean;
    now: Date;
    fullEverySeconds?: number;
  },
): Promise<Parent | undefined> {
  const newest = await newestReadable(repository, database);
  if (newest && newest.facts.systemId !== source.systemId && !newCluster) {
    throw new HelvinoError(
      'SERVER_WRONG_CLUSTER',
      `the server's system identifier is ${source.systemId}; the backups of ${database} are of ${newest.facts.systemId}`,
      {
        hint: 'check the connection; if the cluster was made anew (initdb, pg_upgrade), say so with --new-cluster or, where WAL is stored, give it a database of its own in helvino.yaml',
      },
    );
  }
  if (kind === 'full') return undefined;
  const usable =
    newest &&
    newest.facts.systemId === source.systemId &&
    newest.manifest.hashKeyId === repository.ring.currentId;
  if (usable && !(kind === 'auto' && isOld(newest.manifest.lastFull, now, fullEverySeconds))) return newest;
  if (kind === 'auto') return undefined;
  throw new HelvinoError(
    'BACKUP_NOT_FOUND',
    `there is no backup of ${database} that an incremental one could build on`,
    {
      hint: 'make a full backup first: `helvino backup --full`',
    },
  );
}

function isOld(lastFull: string, now: Date, seconds: number | undefined): boolean {
  return seconds !== undefined && now.getTime() - new Date(lastFull).getTime() > seconds * 1000;
}

/** Of the physical ones, newest first, skipping damaged manifests: those are `verify`'s to report, and must not stop backups. */
export function newestReadable(repository: Repository, database: string): Promise<Parent | undefined> {
  return newestPhysical(repository, database, (id) => repository.manifest(database, id));
}

/** The same, of each no more than `read` gives. */
export async function newestPhysical<Read extends ManifestSummary>(
  repository: Repository,
  database: string,
  read: (id: string) => Promise<Read>,
): Promise<{ readonly manifest: Read; readonly facts: BackupFacts } | undefined> {
  for (const name of (await repository.backups(database)).reverse()) {
    try {
      const manifest = await read(name.id);
      const facts = physicalFacts(manifest);
      if (facts) return { manifest, facts };
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError) || thrown.code !== 'REPOSITORY_DAMAGED') throw thrown;
    }
  }
  return undefined;
}
