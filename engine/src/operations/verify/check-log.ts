/** Checks stored WAL: the hash of every piece, every history and label file, every index, and with identities what is in the pieces. */
import type { ErrorCode } from '../../base/error-codes.ts';
import { HelvinoError } from '../../base/errors.ts';
import { plural } from '../../base/format.ts';
import type { Progress } from '../../base/progress.ts';
import {
  checkLogPiece,
  type Identities,
  type LogPiece,
  listLog,
  listLogFiles,
  logNotes,
  logPieceKeyId,
  openLogFile,
  openLogNote,
  PieceOpener,
  type Repository,
} from '../../repository/index.ts';

export interface LogDamage {
  readonly object: string;
  readonly why: string;
}

export interface CheckLogOptions {
  readonly repository: Repository;
  readonly databases: readonly string[];
  readonly identities?: Identities;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export async function checkLog(
  options: CheckLogOptions,
): Promise<{ damage: LogDamage[]; bytesRead: number }> {
  const { repository, databases, progress, signal } = options;
  const damage: LogDamage[] = [];
  const keys = {
    sealed: await repository.sealedKeys('data'),
    opened: new Map<string, Buffer>(),
    opener: new PieceOpener(),
    lost: new Map<string, number>(),
  };
  let bytesRead = 0;
  progress.phase('reading WAL', undefined, 'bytes');
  for (const database of databases) {
    for await (const piece of listLog(repository.driver, database)) {
      signal.throwIfAborted();
      const why = await faultOf(options, piece, keys);
      if (why !== undefined) damage.push({ object: piece.name, why });
      bytesRead += piece.size;
      progress.advance(piece.size);
    }
    for (const kind of ['cluster', 'history', 'labels', 'gaps'] as const) {
      for await (const object of listLogFiles(repository.driver, database, kind)) {
        const why = await whyNot(() => openLogFile(repository, object), [...damageCodes, 'KEY_WRONG']);
        if (why !== undefined) damage.push({ object, why });
      }
    }
    for (const kind of ['index', 'names'] as const) {
      for await (const { name: object } of logNotes(repository.driver, database, kind)) {
        signal.throwIfAborted();
        const why = await whyNot(() => openLogNote(repository, object), [...damageCodes, 'KEY_WRONG']);
        // `find` reads the WAL itself then; restores need no index.
        if (why !== undefined) damage.push({ object, why });
      }
    }
  }
  for (const [keyId, count] of keys.lost)
    damage.push({
      object: `keys/data/${keyId}`,
      why: `the sealed data key is missing: nobody can open ${plural(count, 'piece')} of WAL`,
    });
  return { damage, bytesRead };
}

const damageCodes: readonly ErrorCode[] = ['REPOSITORY_DAMAGED', 'STORAGE_SHORT_READ', 'STORAGE_IO'];

/** The message of an error that has one of the codes. */
async function whyNot(
  work: () => Promise<unknown>,
  codes: readonly ErrorCode[],
): Promise<string | undefined> {
  try {
    await work();
    return undefined;
  } catch (thrown) {
    // Listed, and gone since: a stream replaces parts by what holds their bytes. What is not listed shows as a gap.
    if (thrown instanceof HelvinoError && thrown.code === 'STORAGE_NOT_FOUND') return undefined;
    if (thrown instanceof HelvinoError && codes.includes(thrown.code)) return thrown.message;
    throw thrown;
  }
}

interface LogKeys {
  /** Ids of the data keys that are stored. */
  readonly sealed: ReadonlySet<string>;
  readonly opened: Map<string, Buffer>;
  readonly opener: PieceOpener;
  /** Keys that are needed and not there, and by how many pieces. */
  readonly lost: Map<string, number>;
}

async function faultOf(
  { repository, identities }: CheckLogOptions,
  { name }: LogPiece,
  { sealed: stored, opened, opener, lost }: LogKeys,
): Promise<string | undefined> {
  let sealed: Uint8Array | undefined;
  let keyId = '';
  // A piece that names a catalog key which this repository never had is a changed piece.
  const changed = await whyNot(async () => {
    sealed = await repository.driver.get(name);
    checkLogPiece(sealed, name, repository.ring);
    keyId = logPieceKeyId(sealed, name);
  }, [...damageCodes, 'KEY_WRONG']);
  if (changed !== undefined || sealed === undefined) return changed;
  if (!stored.has(keyId)) {
    lost.set(keyId, (lost.get(keyId) ?? 0) + 1);
    return undefined;
  }
  if (!identities) return undefined;
  const bytes = sealed;
  return whyNot(async () => {
    const key = opened.get(keyId) ?? (await repository.dataKey(keyId, identities));
    opened.set(keyId, key);
    opener.open(bytes, name, key);
  }, damageCodes);
}
