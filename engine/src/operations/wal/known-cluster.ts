/** Which cluster a protected database is: WAL of another one, or of another version, is never mixed in. */
import { HelvinoError } from '../../base/errors.ts';
import { majorOf } from '../../catalog/index.ts';
import { type ConnectionParams, connectSql } from '../../postgres/index.ts';
import { putLogFile, type Repository } from '../../repository/index.ts';
import { newestReadable } from '../backup/choose-parent.ts';
import { readSource } from '../backup/source.ts';

export interface KnownCluster {
  /** Unsigned 64-bit integer in decimal. */
  readonly systemId: string;
  readonly major: number;
  /** Bytes. */
  readonly segmentSize: number;
}

/** As the newest backup says; without one, the server. Throws SERVER_* when there is neither. */
export async function knownCluster(options: {
  repository: Repository;
  database: string;
  connection: () => Promise<ConnectionParams>;
  signal: AbortSignal;
}): Promise<KnownCluster> {
  const newest = await newestReadable(options.repository, options.database);
  if (newest) {
    const { systemId, serverVersion, walSegmentSize } = newest.facts;
    return { systemId, major: majorOf(serverVersion), segmentSize: walSegmentSize };
  }
  const sql = await connectSql(await options.connection(), { signal: options.signal }).catch((cause) => {
    throw withReason(cause, options.database);
  });
  try {
    const { systemId, serverVersion, walSegmentSize } = await readSource(sql);
    return { systemId, major: majorOf(serverVersion), segmentSize: walSegmentSize };
  } finally {
    await sql.end();
  }
}

/**
 * To be called before WAL is stored: the WAL of a database is of one cluster, since positions of two cannot be told apart.
 * Throws SERVER_WRONG_CLUSTER when it is of another.
 */
export async function claimLog(repository: Repository, database: string, systemId: string): Promise<void> {
  try {
    await putLogFile(repository, {
      database,
      kind: 'cluster',
      name: 'system-identifier',
      bytes: Buffer.from(systemId),
    });
  } catch (cause) {
    if (!(cause instanceof HelvinoError) || cause.code !== 'WAL_CONFLICT') throw cause;
    throw new HelvinoError(
      'SERVER_WRONG_CLUSTER',
      `the WAL stored of ${database} is of another cluster than ${systemId}`,
      {
        cause,
        hint: 'give the new cluster a database of its own in helvino.yaml: positions in the WAL of two clusters cannot be told apart',
        context: { database, systemId },
      },
    );
  }
}

function withReason(cause: unknown, database: string): unknown {
  if (!(cause instanceof HelvinoError)) return cause;
  return new HelvinoError(
    cause.code,
    `there is no backup of ${database} yet, and the server cannot be asked which cluster it is: ${cause.message}`,
    {
      cause,
      hint: cause.ownHint ?? 'make a backup first: `helvino backup`',
    },
  );
}
