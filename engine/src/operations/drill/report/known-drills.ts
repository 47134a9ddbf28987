/** The drills of a database: those kept as evidence, and older ones that are only kept with their backup. */
import { HelvinoError } from '../../../base/errors.ts';
import { listPublicKeys, type Repository } from '../../../repository/index.ts';
import type { DrillReport } from '../report.ts';
import { makeSignedReport, type SignedReport } from './document.ts';
import { keptReports } from './keep-report.ts';
import { isSignedBy, type PublicKey } from './signing-key.ts';
import type { Retest } from './view.ts';

export interface KnownDrill {
  readonly signed: SignedReport;
  /**
   * `good`: by a key that the repository names; `none`: the host had no key, or the drill is older than reports; `wrong`: not
   * the signature of this text.
   */
  readonly signature: 'good' | 'none' | 'wrong';
  /** Later drills that repeated it. */
  readonly retests: readonly Retest[];
}

export interface KnownDrills {
  /** Oldest first. */
  readonly drills: readonly KnownDrill[];
  /** What is wrong with reports that cannot be read: the object and why. */
  readonly damaged: readonly string[];
}

/** `wanted` of the id. */
export async function knownDrills(
  repository: Repository,
  database: string,
  wanted: (id: string) => boolean = () => true,
): Promise<KnownDrills> {
  const damaged: string[] = [];
  const onDamaged = ({ message }: HelvinoError) => void damaged.push(message);
  const kept = await keptReports(repository, database, { wanted, onDamaged });
  const there = new Set(kept.map(({ document }) => document.report.id));
  const old = (await proofsOf(repository, database)).filter(({ id }) => wanted(id) && !there.has(id));
  const all = [...kept, ...(await Promise.all(old.map((report) => asReport(repository, report))))];
  all.sort((a, b) => (a.document.report.id < b.document.report.id ? -1 : 1));
  const keys = await listPublicKeys(repository);
  const reports = all.map(({ document }) => document.report);
  const drills = all.map((signed) => ({
    signed,
    signature: signatureState(signed, keys),
    retests: retestsOf(signed.document.report, reports),
  }));
  return { drills, damaged };
}

/** By its id, the beginning of one, or `latest`. Throws STORAGE_NOT_FOUND, USAGE. */
export function chooseDrill(drills: readonly KnownDrill[], wanted = 'latest'): KnownDrill {
  const found =
    wanted === 'latest'
      ? drills.slice(-1)
      : drills.filter(({ signed }) => signed.document.report.id.startsWith(wanted));
  if (found.length === 1) return found[0]!;
  const hint = '`helvino drill list` shows the drills';
  if (found.length === 0)
    throw new HelvinoError(
      'STORAGE_NOT_FOUND',
      wanted === 'latest' ? 'there is no drill yet' : `there is no drill ${wanted}`,
      { hint },
    );
  throw new HelvinoError('USAGE', `${found.length} drills begin with ${wanted}`, { hint });
}

/** Records of drills before reports were kept. A backup whose proofs cannot be read has others that can. */
async function proofsOf(repository: Repository, database: string): Promise<DrillReport[]> {
  const reports: DrillReport[] = [];
  for (const { id } of await repository.backups(database)) {
    const proofs = await repository.proofs(id).catch((thrown: unknown) => {
      if (thrown instanceof HelvinoError && thrown.code === 'REPOSITORY_DAMAGED') return [];
      throw thrown;
    });
    reports.push(...proofs.map(({ proof }) => proof as DrillReport));
  }
  return reports;
}

async function asReport(repository: Repository, report: DrillReport): Promise<SignedReport> {
  const manifest = await repository.manifest(report.database, report.backup);
  return makeSignedReport(report, { repository, manifest });
}

function signatureState(
  { document, text, signature }: SignedReport,
  keys: readonly PublicKey[],
): KnownDrill['signature'] {
  if (!signature) return 'none';
  const key = keys.find(({ id }) => id === document.key);
  return key && isSignedBy(key, Buffer.from(text), signature) ? 'good' : 'wrong';
}

function retestsOf({ id }: DrillReport, reports: readonly DrillReport[]): Retest[] {
  return reports
    .filter(({ issue }) => issue?.retestOf === id)
    .map(({ id: retest, verdict, finished }) => ({ id: retest, verdict, finished }));
}
