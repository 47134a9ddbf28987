/** What retention and health look at: every backup of a database, the WAL, the holds. Manifests are read one at a time. */
import { HelvinoError } from '../../base/errors.ts';
import { NumberList } from '../../base/number-list.ts';
import { NumberSet } from '../../base/number-set.ts';
import type { JudgedBackup, LogStart, RetentionBackup } from '../../catalog/index.ts';
import { backupFacts, methodOf } from '../../catalog/index.ts';
import { parseLsn, walSegmentBegin } from '../../postgres/index.ts';
import {
  type Hold,
  LogPieces,
  listHolds,
  logFiles,
  type ManifestSummary,
  PackList,
  type Repository,
  type SizedPack,
} from '../../repository/index.ts';
import { standingProof } from '../drill/proof/index.ts';
import type { DrillReport } from '../drill/report.ts';
import { type BadRun, badRuns } from '../runs/last-runs.ts';

export interface KnownBackup extends RetentionBackup, Omit<JudgedBackup, 'state'> {
  readonly packs: PacksOf;
  /** Where recovery from it begins; of a physical one. */
  readonly start?: LogStart;
  /** The drill of it that counts: see standingProof. */
  readonly drill?: DrillReport;
}

export interface DatabaseState {
  readonly database: string;
  /** The store's clock. */
  readonly now: Date;
  /** In order of time. */
  readonly backups: readonly KnownBackup[];
  readonly pieces: LogPieces;
  /** Timeline history files by name. */
  readonly histories: ReadonlyMap<string, Uint8Array>;
  /** Of each kind the newest run that is over, where it has left no backup. */
  readonly badRuns: ReadonlyMap<string, BadRun>;
  /** Of all backups. */
  readonly packs: PackList;
}

/** The kind of a backup whose manifest cannot be read. */
export const unknownKind = 'unknown';

export async function readState(repository: Repository, database: string): Promise<DatabaseState> {
  const now = await repository.driver.now();
  const holds = await listHolds(repository, { database, now });
  const backups: KnownBackup[] = [];
  const packs = new PackList();
  for (const { id, committed } of await repository.backups(database)) {
    try {
      const numbers = new NumberSet();
      const manifest = await repository.summary(database, id, (pack) => numbers.add(packs.add(pack)));
      const proofs = await repository.proofs(id);
      const drill = standingProof(proofs.map(({ proof }) => proof as DrillReport));
      backups.push(known(manifest, { committed, drill, holds, packs: new PacksOf(packs, numbers) }));
    } catch (thrown) {
      // Removed since it was listed.
      if (thrown instanceof HelvinoError && thrown.code === 'BACKUP_NOT_FOUND') continue;
      if (!(thrown instanceof HelvinoError) || !thrown.code.startsWith('REPOSITORY_')) throw thrown;
      backups.push(unreadable(id, committed, { holds, packs }));
    }
  }
  for (const { id, committed } of await repository.lostBackups(database))
    backups.push(unreadable(id, committed, { holds, packs }));
  const pieces = await LogPieces.read(repository.driver, database);
  const histories = await logFiles(repository, database);
  backups.sort((a, b) => a.made.getTime() - b.made.getTime() || (a.id < b.id ? -1 : 1));
  const bad = await badRuns(repository, database, newestCommitted(backups));
  return { database, now, backups, pieces, histories, badRuns: bad, packs };
}

function newestCommitted(backups: readonly KnownBackup[]): Map<string, Date> {
  const newest = new Map<string, Date>();
  for (const { kind, committed } of backups)
    if (committed > (newest.get(kind) ?? new Date(0))) newest.set(kind, committed);
  return newest;
}

function known(
  manifest: ManifestSummary,
  {
    committed,
    drill,
    holds,
    packs,
  }: { committed: Date; drill: DrillReport | undefined; holds: readonly Hold[]; packs: PacksOf },
): KnownBackup {
  const { id, label, totals } = manifest;
  const kind = methodOf(manifest);
  const finished = new Date(manifest.finished);
  const verdict = drill?.verdict;
  return {
    id,
    kind,
    label,
    made: finished < committed ? finished : committed,
    committed,
    state: verdict === 'failed' ? 'failed' : 'good',
    proof: verdict === 'failed' ? undefined : verdict,
    proven: verdict === 'proven',
    drill,
    holds: holdsOn(id, holds),
    packs,
    bytes: totals.bytes,
    stored: totals.referenced,
    ...(kind === 'physical' ? placeOf(manifest) : {}),
  };
}

function placeOf(manifest: ManifestSummary): { timeline: number; start: LogStart } {
  const { timeline, walEnd, walSegmentSize } = backupFacts(manifest);
  const end = parseLsn(walEnd);
  return { timeline, start: { timeline, end, begin: walSegmentBegin(end, walSegmentSize) } };
}

function unreadable(
  id: string,
  committed: Date,
  { holds, packs }: { holds: readonly Hold[]; packs: PackList },
): KnownBackup {
  return {
    id,
    kind: unknownKind,
    made: committed,
    committed,
    state: 'unreadable',
    proven: false,
    holds: holdsOn(id, holds),
    packs: new PacksOf(packs, new NumberSet()),
    bytes: 0,
    stored: 0,
  };
}

function holdsOn(id: string, holds: readonly Hold[]): string[] {
  return holds
    .filter(({ backup }) => backup === undefined || backup === id)
    .map(
      ({ id: hold, reason, by, pin, until }) =>
        `${pin ? 'pin' : 'hold'} ${hold}: ${reason} (${by}${until ? `, until ${until.slice(0, 10)}` : ''})`,
    );
}

/** Which packs of all a backup has: ranges of their numbers, since backups share most of them. */
class PacksOf {
  readonly #all: PackList;
  /** First and last of each, in order. */
  readonly #ranges: Uint32Array;
  readonly length: number;

  constructor(all: PackList, numbers: NumberSet) {
    this.#all = all;
    this.length = numbers.size;
    const ranges = new NumberList();
    let last: number | undefined;
    for (const number of numbers) {
      if (number - 1 === last) ranges.set(ranges.length - 1, number);
      else {
        ranges.push(number);
        ranges.push(number);
      }
      last = number;
    }
    this.#ranges = Uint32Array.from(ranges);
  }

  *[Symbol.iterator](): Generator<{ readonly id: number; readonly size: number }, void, void> {
    for (const number of this.#numbers()) yield { id: number, size: this.#all.sizeOf(number) };
  }

  *named(): Generator<SizedPack, void, void> {
    for (const number of this.#numbers()) yield this.#all.at(number);
  }

  *#numbers(): Generator<number, void, void> {
    for (let i = 0; i < this.#ranges.length; i += 2)
      for (let number = this.#ranges[i]!; number <= this.#ranges[i + 1]!; number++) yield number;
  }
}
