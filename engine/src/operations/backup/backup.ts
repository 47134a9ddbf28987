/**
 * `helvino backup`: the procedure. The order is what makes it safe:
 * keys and lease before data, data before manifest, checks before commit; a crash anywhere before the manifest leaves
 * garbage that `collect` removes, never a wrong backup.
 */
import type { Clock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import {
  type ConnectionParams,
  connectSql,
  openReplication,
  withoutIdleLimit,
} from '../../postgres/index.ts';
import {
  Lease,
  listLog,
  type Manifest,
  type Mirrors,
  type Repository,
  WorkIndex,
} from '../../repository/index.ts';
import { newBackupId } from '../new-backup-id.ts';
import { isDamage } from '../stored-damage.ts';
import { storeCatalogNames } from '../wal/catalog-names.ts';
import { chooseParent, type Parent, type WantedKind } from './choose-parent.ts';
import { commitBackup } from './commit.ts';
import { FileReports } from './file-reports.ts';
import { assertOneSession } from './files-here.ts';
import { Ingest } from './ingest.ts';
import { knownDamage } from './known-damage.ts';
import { giveRunKey, startPool } from './open-pool.ts';
import { readSource, type SourceFacts, serverTime } from './source.ts';
import { type FingerprintMode, SourceFingerprint, type SourceTables } from './source-fingerprint.ts';
import { transfer } from './transfer.ts';

export interface BackupOptions {
  readonly repository: Repository;
  /** When `repository` writes to several copies. */
  readonly mirrors?: Mirrors;
  readonly recipients: readonly string[];
  /** The name of the protected database in the configuration. */
  readonly database: string;
  readonly connection: ConnectionParams;
  readonly kind: WantedKind;
  /** With `auto`: a full backup when the newest full one is older. */
  readonly fullEverySeconds?: number;
  readonly checkpoint: 'fast' | 'spread';
  /** KiB per second. */
  readonly maxRateKiB?: number;
  readonly verifyChecksums: boolean;
  /**
   * Where the data comes from when all of it is read. `files`: from the server's data directory, which must be here; `auto`: from
   * there when nothing stands in the way (files-here.ts).
   */
  readonly read: 'auto' | 'replication' | 'files';
  readonly fingerprint: FingerprintMode;
  /** With `auto`: content hashes only if all databases together have at most this many bytes. */
  readonly fingerprintMaxBytes: number;
  readonly label?: string;
  readonly notes: Readonly<Record<string, string>>;
  /** The database is a new cluster from now on. */
  readonly newCluster: boolean;
  /** zstd level. */
  readonly level: number;
  readonly program: string;
  readonly clock: Clock;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export async function backup(options: BackupOptions): Promise<Manifest> {
  const { repository, clock, progress, signal } = options;
  const started = clock.now();
  const id = await newBackupId(repository, clock);
  await using cleanup = new AsyncDisposableStack();
  progress.phase('connecting');
  const reports = new FileReports();
  const pool = startPool({ ...options, fetch: options.read === 'replication' ? undefined : reports });
  cleanup.defer(() => pool.close());
  const sql = await connectSql(options.connection, { signal });
  cleanup.defer(() => quietly(sql.end()));

  // 1. What is there, and what it is compared with.
  const source = await readSource(sql);
  const chosen = await chooseParent(repository, { ...options, source, now: started });

  // 2. From here on the parent, and what this run writes, is safe from collection.
  const uses = chosen ? [chosen.manifest.id] : [];
  const lease = await Lease.acquire(repository.driver, clock, { kind: 'backup', uses });
  cleanup.defer(() => lease.release());
  // What it still stores is stored before the lease is gone.
  cleanup.defer(() => pool.close());
  if (chosen) {
    await assertStillThere(repository, options.database, chosen);
    await options.mirrors?.needBackup(options.database, chosen.manifest.id);
  }

  // 3. The parent's files go into a scratch table for look-up.
  const { index, parent } = await loadParent(options, chosen);
  cleanup.defer(() => index.close());

  // 4. The data, then the WAL up to a point at which the source's content is known.
  const holdsSlot = options.read === 'files';
  // Before a pooler refuses what the replication connection asks for.
  if (holdsSlot) await assertOneSession(sql);
  const connecting = openReplication(holdsSlot ? withoutIdleLimit(options.connection) : options.connection, {
    signal,
  });
  cleanup.defer(() => quietly(connecting.then((opened) => opened.close())));
  connecting.catch(() => undefined);
  const connection = await connecting;
  const ingest = new Ingest(pool, index);
  const fingerprint = new SourceFingerprint(options, source);
  cleanup.defer(() => quietly(fingerprint.close()));
  const ending = new AbortController();
  cleanup.defer(() => ending.abort());
  let keyed: Promise<void> | undefined;
  cleanup.defer(() => keyed);
  const giveKey = () => {
    keyed ??= giveRunKey(pool, options);
  };
  const made = { pool, giveKey, ingest, index, fingerprint, reports };
  const context = { options, source, parent, ...made, ending: ending.signal };
  const transferred = await transfer(connection, context);

  // 5. What helps to prove and to explain the backup later, while the last of the data becomes durable.
  ingest.flush();
  const [ended, tables] = await Promise.all([
    timeOf(options),
    readTables(context, transferred.timeline),
    pool.finish(),
  ]);

  // 6. Everything durable, everything checked, then the manifest.
  progress.phase('finishing');
  signal.throwIfAborted();
  // Awaited here: what follows a bare return runs after the lease is gone.
  return await commitBackup({
    ...context,
    id,
    started,
    transferred,
    tables,
    lease,
    ended,
  });
}

async function readTables(
  {
    options,
    source,
    fingerprint,
  }: { options: BackupOptions; source: SourceFacts; fingerprint: SourceFingerprint },
  timeline: number,
): Promise<SourceTables> {
  const { progress, signal } = options;
  progress.phase('reading table names and contents of the source');
  await storeNamesForLog(options, source, timeline);
  return await fingerprint.tables(progress, signal);
}

/** By the server's clock. */
async function timeOf({ connection, signal }: BackupOptions): Promise<string> {
  const client = await connectSql(connection, { signal });
  try {
    return await serverTime(client);
  } finally {
    await client.end();
  }
}

/**
 * A backup on a damaged parent would share the damage: with `auto` a full one is made instead, so that protection goes on.
 * Throws REPOSITORY_DAMAGED when an incremental was asked for.
 */
async function loadParent(
  options: BackupOptions,
  chosen: Parent | undefined,
): Promise<{ index: WorkIndex; parent: Parent | undefined }> {
  const index = new WorkIndex();
  try {
    if (chosen) await readParent(options, chosen.manifest, index);
    return { index, parent: chosen };
  } catch (thrown) {
    index.close();
    if (options.kind !== 'auto' || !isDamage(thrown)) throw thrown;
    options.progress.note(
      'warn',
      `a full backup is made: the parent cannot be relied on (${thrown.message})`,
    );
    return { index: new WorkIndex(), parent: undefined };
  }
}

async function readParent(
  { repository, progress }: BackupOptions,
  manifest: Manifest,
  index: WorkIndex,
): Promise<void> {
  // At the same time: where there are many packs, their listing takes longer than to read a few notes.
  const [[missing], damage] = await Promise.all([
    repository.missingPacks(manifest),
    knownDamage(repository, manifest, progress),
  ]);
  if (missing !== undefined) {
    throw new HelvinoError('REPOSITORY_DAMAGED', `${missing} of backup ${manifest.id} is missing or cut`, {
      hint: 'run `helvino verify` to see what it touches, and `helvino backup --full`',
      context: { object: missing },
    });
  }
  if (damage !== undefined)
    throw new HelvinoError('REPOSITORY_DAMAGED', damage, {
      hint: 'take a full backup: `helvino backup --full`; or mend it (`helvino heal`), then `helvino verify --read-data`',
      context: { backup: manifest.id },
    });
  for await (const file of repository.files(manifest)) index.addParent(file);
}

/** Where WAL is stored, `helvino find` can use the names that hold now. */
async function storeNamesForLog(
  options: BackupOptions,
  { databases }: SourceFacts,
  timeline: number,
): Promise<void> {
  const { repository, database } = options;
  for await (const _ of listLog(repository.driver, database)) {
    await storeCatalogNames({ ...options, databases, timeline });
    return;
  }
}

/** What fails while cleaning up must not hide what happened before. */
async function quietly(work: Promise<unknown> | undefined): Promise<void> {
  await Promise.resolve(work).catch(() => undefined);
}

/** The lease came after the choice: if the parent was removed in between, its packs may go too. */
async function assertStillThere(repository: Repository, database: string, parent: Parent): Promise<void> {
  const names = await repository.backups(database);
  if (names.some((name) => name.id === parent.manifest.id)) return;
  throw new HelvinoError(
    'REPOSITORY_BUSY',
    `the parent backup ${parent.manifest.id} was removed while this backup began`,
    {
      hint: 'run the backup again',
    },
  );
}
