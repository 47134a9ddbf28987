/** Checks stored WAL: the hash of every piece, and with identities what is in it. */
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import {
  checkLogPiece,
  type Identities,
  type LogPiece,
  listLog,
  logPieceKeyId,
  openLogPiece,
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
  const keys = new Map<string, Buffer>();
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
  }
  return { damage, bytesRead };
}

async function faultOf(
  { repository, identities }: CheckLogOptions,
  { name }: LogPiece,
  keys: Map<string, Buffer>,
): Promise<string | undefined> {
  try {
    const sealed = await repository.driver.get(name);
    checkLogPiece(sealed, name, repository.ring);
    if (!identities) return undefined;
    const keyId = logPieceKeyId(sealed, name);
    const key = keys.get(keyId) ?? (await repository.dataKey(keyId, identities));
    keys.set(keyId, key);
    openLogPiece(sealed, name, key);
    return undefined;
  } catch (thrown) {
    if (
      thrown instanceof HelvinoError &&
      ['REPOSITORY_DAMAGED', 'STORAGE_NOT_FOUND', 'STORAGE_SHORT_READ', 'STORAGE_IO'].includes(thrown.code)
    )
      return thrown.message;
    throw thrown;
  }
}
