/** Which cluster a protected database is: WAL of another one, or of another version, is never mixed in. */
import { HelvinoError } from '../../base/errors.ts';
import { majorOf } from '../../catalog/index.ts';
import { type ConnectionParams, connectSql } from '../../postgres/index.ts';
import { listLogFiles, openLogFile, putLogFile, type Repository } from '../../repository/index.ts';
import { newestPhysical, newestReadable } from '../backup/choose-parent.ts';
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

const claimKind = 'cluster';
const claimFile = 'system-identifier';

/** Whose positions those in a repository are, as far as it says so: system identifiers. */
export interface StoredClusters {
  readonly database: string;
  /** Of the newest backup that can be read. */
  readonly backups: string | undefined;
  /** Of the stored WAL. */
  readonly wal: string | undefined;
}

export interface OtherCluster {
  readonly message: string;
  readonly hint: string;
}

export async function storedClusters(repository: Repository, database: string): Promise<StoredClusters> {
  const newest = await newestPhysical(repository, database, (id) => repository.summary(database, id));
  return {
    database,
    backups: newest?.facts.systemId,
    wal: await clusterOfLog(repository, database),
  };
}

/** What is to be said when a server is of another cluster than what is stored: neither its LSNs nor its slots say anything of that. */
export function otherCluster(
  { database, backups, wal }: StoredClusters,
  systemId: string,
): OtherCluster | undefined {
  const apart = 'give the new one a database of its own in helvino.yaml';
  const isOther = (known: string | undefined) => known !== undefined && known !== systemId;
  if (isOther(backups)) {
    return {
      message: `the server is another cluster: its system identifier is ${systemId}; the backups of ${database} are of ${backups}`,
      hint: `check the connection; if the cluster was made anew (initdb, pg_upgrade), ${wal === undefined ? '`helvino backup --full --new-cluster` says so' : apart}`,
    };
  }
  if (!isOther(wal)) return undefined;
  return {
    message: `the server is another cluster: its system identifier is ${systemId}; the WAL stored of ${database} is of ${wal}`,
    hint: `check the connection; if the cluster was made anew (initdb, pg_upgrade), ${apart}: its WAL cannot be stored beside that`,
  };
}

async function clusterOfLog(repository: Repository, database: string): Promise<string | undefined> {
  for await (const name of listLogFiles(repository.driver, database, claimKind)) {
    if (!name.endsWith(`/${claimFile}`)) continue;
    try {
      return Buffer.from(await openLogFile(repository, name)).toString();
    } catch (thrown) {
      // `verify` reports it.
      if (!(thrown instanceof HelvinoError) || thrown.code !== 'REPOSITORY_DAMAGED') throw thrown;
    }
  }
  return undefined;
}

/**
 * To be called before WAL is stored: the WAL of a database is of one cluster, since positions of two cannot be told apart.
 * Throws SERVER_WRONG_CLUSTER when it is of another.
 */
export async function claimLog(repository: Repository, database: string, systemId: string): Promise<void> {
  try {
    await putLogFile(repository, {
      database,
      kind: claimKind,
      name: claimFile,
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
