/**
 * The transfer: one base backup over one replication connection, then the WAL it needs. With a parent on PostgreSQL 17+
 * and WAL summaries the server is asked for changed pages only; if it cannot (summaries missing, settings off), all is read
 * and only changed chunks are stored.
 */
import { HelvinoError } from '../../base/errors.ts';
import { randomHex } from '../../base/ids.ts';
import {
  backupManifest,
  formatLsn,
  parseLsn,
  type ReplicationConnection,
  timelineHistoryName,
} from '../../postgres/index.ts';
import type { EncoderPool, WorkIndex } from '../../repository/index.ts';
import { TarReader } from '../../tar/index.ts';
import type { BackupOptions } from './backup.ts';
import { captureWal } from './capture-wal.ts';
import type { Parent } from './choose-parent.ts';
import { describeSource, type SourceDescription } from './describe-source.ts';
import type { FileReports } from './file-reports.ts';
import type { Ingest } from './ingest.ts';
import { readFiles } from './read-files.ts';
import type { SourceFacts } from './source.ts';
import type { SourceFingerprint } from './source-fingerprint.ts';
import { timelineChanged } from './timeline-changed.ts';
import { waitingForCheckpoint } from './waiting-for-checkpoint.ts';

export interface Transferred {
  readonly timeline: number;
  readonly startLsn: bigint;
  readonly stopLsn: bigint;
  readonly walEnd: bigint;
  readonly transfer: 'all' | 'changed-chunks' | 'changed-pages';
  readonly read: 'replication' | 'files';
  readonly tablespaces: readonly { oid: string; location: string }[];
  readonly warnings: readonly string[];
  /** Under way, and never fails but when it is interrupted. */
  readonly description: Promise<SourceDescription>;
}

export interface TransferContext {
  readonly options: BackupOptions;
  readonly source: SourceFacts;
  readonly parent: Parent | undefined;
  readonly pool: EncoderPool;
  /** To be called when the server has been asked for something that takes a while. */
  giveKey(): void;
  readonly ingest: Ingest;
  readonly index: WorkIndex;
  readonly fingerprint: SourceFingerprint;
  readonly reports: FileReports;
  /** Ends what goes on beside the transfer. */
  readonly ending: AbortSignal;
}

export async function transfer(
  connection: ReplicationConnection,
  context: TransferContext,
): Promise<Transferred> {
  const { options, source, ingest } = context;
  const warnings: string[] = [];
  const warn = (message: string) => {
    warnings.push(message);
    options.progress.note('warn', message);
  };
  const { systemId } = await connection.identify();
  if (systemId !== source.systemId) {
    throw new HelvinoError(
      'SERVER_WRONG_CLUSTER',
      `the replication connection leads to cluster ${systemId}, the other to ${source.systemId}`,
      {
        hint: 'a connection pooler or several hosts in the connection: name one server',
      },
    );
  }
  const offered = await offerParent(connection, context, warn);
  const { incremental, slot, read, ...base } = await receiveBest(connection, context, { offered, warn });
  const quiet = await context.fingerprint.takePoint();
  // At once, since definitions are not as of a snapshot; the WAL comes meanwhile.
  const signal = AbortSignal.any([options.signal, context.ending]);
  const description = describeSource({ connection: options.connection, signal }, source.databases);
  description.catch(() => undefined);
  const walEnd = quiet !== undefined && quiet > base.stopLsn ? quiet : base.stopLsn;
  options.progress.phase('receiving the WAL that the backup needs');
  await historyFile(connection, base.timeline, ingest);
  const span = {
    ...base,
    endLsn: walEnd,
    segmentSize: source.walSegmentSize,
    slot,
    mtime: seconds(options),
    owner: base.owner,
  };
  await captureWal(connection, { span, ingest, pool: context.pool });
  const kind = incremental ? 'changed-pages' : context.parent ? 'changed-chunks' : 'all';
  return { ...base, walEnd, transfer: kind, read, warnings, description };
}

/** A temporary slot keeps the WAL from the backup's start on; it goes with the connection, and with any error on it. */
async function keepWal(
  connection: ReplicationConnection,
  warn: (message: string) => void,
): Promise<string | undefined> {
  const name = `helvino_backup_${randomHex(4)}`;
  try {
    await connection.createTemporarySlot(name);
    return name;
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError) || thrown.code === 'SERVER_GONE') throw thrown;
    warn(`no replication slot could be made (${thrown.message}): the backup relies on wal_keep_size`);
    return undefined;
  }
}

/** True when the server has taken the parent's file list and will send changed pages only. */
async function offerParent(
  connection: ReplicationConnection,
  context: TransferContext,
  warn: (message: string) => void,
): Promise<boolean> {
  const { parent, source, index } = context;
  if (!parent || source.serverVersion < 170000 || !source.summarizeWal) return false;
  if (parent.facts.serverVersion < 170000) return false;
  const { facts } = parent;
  if (facts.restored !== source.restored) {
    // Timelines do not tell them apart: two restores of one backup both go on as the same new timeline.
    warn(
      'the server was restored since the parent backup, so its WAL does not say what changed: all is read',
    );
    return false;
  }
  const files = function* () {
    for (const file of index.parents()) {
      if (file.type === 'file' && !file.path.startsWith('pg_wal/')) yield file;
    }
  };
  const walRanges = [
    { timeline: facts.timeline, startLsn: parseLsn(facts.startLsn), endLsn: parseLsn(facts.stopLsn) },
  ];
  try {
    await connection.uploadManifest(backupManifest({ systemId: source.systemId, files: files(), walRanges }));
    return true;
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError) || thrown.code !== 'SERVER_ERROR') throw thrown;
    warn(`the server did not take the parent's file list (${thrown.message}): all is read`);
    return false;
  }
}

export interface Received {
  readonly timeline: number;
  readonly startLsn: bigint;
  readonly stopLsn: bigint;
  readonly tablespaces: readonly { oid: string; location: string }[];
  readonly owner: { uid: number; gid: number };
}

/** `object_not_in_prerequisite_state`: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const notPrepared = '55000';

/**
 * Changed pages if the server can. Whether its WAL summaries reach from the parent to now it says only when the backup is
 * asked for, before anything is sent (they are removed after wal_summary_keep_time, and missing while summarize_wal is off).
 */
async function receiveBest(
  connection: ReplicationConnection,
  context: TransferContext,
  { offered, warn }: { offered: boolean; warn: (message: string) => void },
): Promise<
  Received & {
    readonly incremental: boolean;
    readonly slot: string | undefined;
    readonly read: Transferred['read'];
  }
> {
  if (offered) {
    const slot = await keepWal(connection, warn);
    try {
      return {
        ...(await receive(connection, context, { incremental: true, warn })),
        incremental: true,
        slot,
        read: 'replication',
      };
    } catch (thrown) {
      const refused = thrown instanceof HelvinoError && thrown.context.sqlstate === notPrepared;
      if (!refused || context.ingest.received > 0) throw thrown;
      warn(`the server cannot say which pages changed (${thrown.message}): all is read`);
    }
  }
  const slot = await keepWal(connection, warn);
  if (context.options.read !== 'replication') {
    const received = await readFiles(context, { connection, slot, warn });
    if (received) return { ...received, incremental: false, slot, read: 'files' };
  }
  const received = await receive(connection, context, { incremental: false, warn });
  return { ...received, incremental: false, slot, read: 'replication' };
}

async function receive(
  connection: ReplicationConnection,
  { options, source, ingest, pool, giveKey }: TransferContext,
  { incremental, warn }: { incremental: boolean; warn: (message: string) => void },
): Promise<Received> {
  const { progress } = options;
  let tar: TarReader | undefined;
  let owner = { uid: 0, gid: 0 };
  let tablespaces: { oid: string; location: string }[] = [];
  const handler = {
    entry: (header: Parameters<Ingest['entry']>[0]) => {
      owner = { uid: header.uid, gid: header.gid };
      ingest.entry(header);
    },
    data: (bytes: Uint8Array) => ingest.data(bytes),
    entryEnd: () => {
      const before = ingest.covered;
      ingest.entryEnd();
      if (incremental) progress.advance(ingest.covered - before);
    },
  };
  progress.phase(waitingForCheckpoint(options.checkpoint));
  const receiving = connection.baseBackup(
    {
      label: options.label ?? 'helvino',
      fast: options.checkpoint === 'fast',
      maxRateKiB: options.maxRateKiB,
      incremental,
      verifyChecksums: options.verifyChecksums,
      progress: true,
      wal: false,
      signal: options.signal,
    },
    {
      started: (info) => {
        tablespaces = info.tablespaces.flatMap((t) =>
          t.oid === undefined ? [] : [{ oid: t.oid, location: t.location }],
        );
        const kib = info.tablespaces.reduce((sum, t) => sum + (t.sizeKiB ?? 0), 0);
        progress.phase(
          // How many pages have changed nobody knows before: what counts is how much of the database is through.
          incremental ? 'receiving the changed pages of the database' : 'receiving',
          kib === 0 ? undefined : kib * 1024,
          'bytes',
        );
      },
      archive: ({ oid }) => {
        tar?.end();
        ingest.archive(oid);
        tar = new TarReader(handler);
      },
      data: (bytes) => {
        tar!.push(bytes);
        if (!incremental) progress.advance(bytes.length);
      },
      ready: () => pool.congestion(),
      notice: (severity, message) => {
        if (severity === 'WARNING') warn(message);
      },
    },
  );
  giveKey();
  const result = await receiving;
  tar?.end();
  assertOneTimeline(result);
  progress.note(
    'info',
    `base backup from ${formatLsn(result.startLsn)} to ${formatLsn(result.stopLsn)} of PostgreSQL ${source.serverVersionText}`,
  );
  return {
    timeline: result.startTimeline,
    startLsn: result.startLsn,
    stopLsn: result.stopLsn,
    tablespaces,
    owner,
  };
}

function assertOneTimeline({
  startTimeline,
  stopTimeline,
}: {
  startTimeline: number;
  stopTimeline: number;
}): void {
  if (startTimeline === stopTimeline) return;
  throw timelineChanged(
    `the server was promoted during the backup (timeline ${startTimeline} to ${stopTimeline})`,
  );
}

/** Recovery on a timeline after the first reads its history. */
async function historyFile(
  connection: ReplicationConnection,
  timeline: number,
  ingest: Ingest,
): Promise<void> {
  if (timeline === 1) return;
  const content = await connection.timelineHistory(timeline);
  const name = timelineHistoryName(timeline);
  for (const [path, bytes] of [
    [`pg_wal/${name}`, content],
    [`pg_wal/archive_status/${name}.done`, new Uint8Array(0)],
  ] as const) {
    ingest.archive(undefined);
    ingest.whole(path, bytes, { mode: 0o600, uid: 0, gid: 0 });
  }
}

function seconds(options: BackupOptions): number {
  return Math.floor(options.clock.now().getTime() / 1000);
}
