/**
 * The data of a backup read from the server's files, where Helvino runs beside the server: encoders read, and the server
 * only says where the backup begins and ends. The order is what makes it right: the server's answer to the begin, then every
 * file, the control file last, and only when all of it has been read, the end.
 */
import { closeSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import type { Client } from 'pg';
import { asHelvinoError, HelvinoError } from '../../base/errors.ts';
import { readAt } from '../../base/read-at.ts';
import {
  assertOwner,
  backendPid,
  beginLowLevelBackup,
  type DirectoryItem,
  endLowLevelBackup,
  type FilePiece,
  formatLsn,
  liftLimits,
  openSourceFile,
  queryError,
  type ReplicationConnection,
  readControlFile,
  readTablespaces,
  sourceUnreadable,
  walkDataDirectory,
  withSql,
} from '../../postgres/index.ts';
import type { TarEntry } from '../../tar/index.ts';
import { type FilesHere, filesAtHand, filesHere, pageSize } from './files-here.ts';
import { Pace } from './pace.ts';
import { timelineChanged } from './timeline-changed.ts';
import type { Received, TransferContext } from './transfer.ts';
import { waitingForCheckpoint } from './waiting-for-checkpoint.ts';

/** Files up to here are read by this thread: handing them over would cost more. Bytes. */
const smallFile = 64 << 10;
/** PG_CONTROL_FILE_SIZE of the server's pg_control.h. Bytes. */
const longestControl = 8192;
const mostTries = 20;
/** Milliseconds. */
const controlPause = 10;
/** Milliseconds after which a silent connection is used, so that nothing between takes it for dead. */
const silence = 60_000;

/** Undefined when `read: auto` would rather receive the files: then nothing has begun. */
export async function readFiles(
  context: TransferContext,
  {
    connection,
    slot,
    warn,
  }: {
    connection: ReplicationConnection;
    slot: string | undefined;
    warn: (message: string) => void;
  },
): Promise<Received | undefined> {
  const { options, source } = context;
  return withSql(options.connection, { signal: options.signal }, async (client) => {
    await liftLimits(client);
    const place =
      options.read === 'files'
        ? await filesHere(client, slot)
        : await filesAtHand(client, source.serverVersion, { connection, slot });
    if ('why' in place) {
      options.progress.note('info', `the files are not read here: ${place.why}`);
      return undefined;
    }
    // What fails here by itself is not the server's doing.
    return new FileReading(context, { client, connection, place, warn })
      .run()
      .catch((thrown: unknown) => Promise.reject(asHelvinoError(thrown)));
  });
}

class FileReading {
  readonly #context: TransferContext;
  readonly #client: Client;
  readonly #connection: ReplicationConnection;
  readonly #place: FilesHere;
  readonly #warn: (message: string) => void;
  readonly #pace: Pace;
  /** Descriptors that encoders read from. */
  readonly #open = new Set<number>();
  readonly #verify: boolean;
  #since = 0n;
  #told = 0;
  #heard = 0;
  #broken: Error | undefined;

  constructor(
    context: TransferContext,
    {
      client,
      connection,
      place,
      warn,
    }: {
      client: Client;
      connection: ReplicationConnection;
      place: FilesHere;
      warn: (message: string) => void;
    },
  ) {
    const { options, source } = context;
    this.#context = context;
    this.#client = client;
    this.#connection = connection;
    this.#place = place;
    this.#warn = warn;
    this.#pace = new Pace(options.clock, options.maxRateKiB, options.signal);
    this.#verify = options.verifyChecksums && source.dataChecksums;
    client.on('error', (error) => {
      this.#broken = error;
    });
  }

  async run(): Promise<Received> {
    const { options, source, ingest, reports } = this.#context;
    const { progress } = options;
    await this.#begin();
    const tablespaces = await readTablespaces(this.#client);
    progress.phase("reading the server's files", source.bytes, 'bytes');
    await this.#readAll(new Set(tablespaces.map(({ oid }) => oid)));
    const control = await this.#control();
    const end = await endLowLevelBackup(this.#client, source.serverVersion);
    reports.assertGood();
    assertOneTimeline(control.minRecoveryTimeline, end.timeline);
    const { owner } = control;
    ingest.whole('backup_label', Buffer.from(end.label), { ...owner, mode: 0o600 });
    progress.note(
      'info',
      `base backup from ${formatLsn(this.#since)} to ${formatLsn(end.stopLsn)} of PostgreSQL ${source.serverVersionText}, read from ${this.#place.dataDir}`,
    );
    return { timeline: end.timeline, startLsn: this.#since, stopLsn: end.stopLsn, tablespaces, owner };
  }

  async #begin(): Promise<void> {
    const { options, source } = this.#context;
    const fast = options.checkpoint === 'fast';
    options.progress.phase(waitingForCheckpoint(options.checkpoint));
    const begin = { label: options.label ?? 'helvino', fast };
    const beginning = beginLowLevelBackup(this.#client, source.serverVersion, begin);
    this.#context.giveKey();
    this.#since = await beginning;
    this.#heard = options.clock.monotonic();
  }

  /** Resolves when all has been read, not only asked for. */
  async #readAll(tablespaces: ReadonlySet<string>): Promise<void> {
    const { ingest, pool } = this.#context;
    const { dataDir, versionFolder } = this.#place;
    let items = 0;
    try {
      ingest.archive(undefined);
      for (const item of walkDataDirectory({ dataDir, versionFolder, tablespaces, warn: this.#warn })) {
        if (item.type === 'file') await this.#file(item);
        else this.#other(item, item.stat!);
        // What encoders and the server say is heard between many small files, too.
        if (++items % 64 === 0) await turn();
      }
      ingest.flush();
      await pool.drained();
    } finally {
      for (const fd of this.#open) this.#close(fd);
    }
  }

  #other(item: DirectoryItem, stat: Stats): void {
    if (item.type === 'directory') assertOwner(item.absolute, stat, this.#place.owner);
    this.#context.ingest.entry(entryOf(item, stat));
  }

  async #file(item: DirectoryItem): Promise<void> {
    const opened = openSourceFile(item.absolute, this.#place.owner);
    if (opened === undefined) return;
    const { fd, stat } = opened;
    let handedOver = false;
    try {
      const entry = entryOf(item, stat);
      handedOver = entry.size > smallFile;
      if (handedOver) this.#open.add(fd);
      await this.#context.ingest.fetched(entry, {
        room: () => this.#room(),
        fetch: (offset) => this.#piece(item, handedOver ? fd : undefined, offset),
        fill: handedOver ? undefined : (into, offset) => fill(fd, into, { offset, path: item.absolute }),
        stored: handedOver ? () => this.#close(fd) : undefined,
      });
    } finally {
      if (!handedOver) closeSync(fd);
    }
  }

  /** Not twice: the number may be another file's by then. */
  #close(fd: number): void {
    if (this.#open.delete(fd)) closeSync(fd);
  }

  #piece(item: DirectoryItem, fd: number | undefined, offset: number): FilePiece {
    const verified = this.#verify && item.relation !== undefined;
    const block = (item.relation?.file ?? 0) * this.#place.filePages + offset / pageSize;
    return {
      fd,
      path: item.absolute,
      owner: this.#place.owner,
      offset,
      pages: verified ? { block, since: this.#since } : undefined,
    };
  }

  async #room(): Promise<void> {
    const { options, ingest, pool } = this.#context;
    options.signal.throwIfAborted();
    if (this.#broken) throw queryError(this.#client, this.#broken);
    options.progress.advance(ingest.received - this.#told);
    this.#told = ingest.received;
    await this.#pace.reached(ingest.received);
    await pool.congestion();
    if (options.clock.monotonic() - this.#heard > silence) await this.#speak();
  }

  /** The backup is of the one session, its slot of the other. */
  async #speak(): Promise<void> {
    await Promise.all([backendPid(this.#client), this.#connection.identify()]);
    this.#heard = this.#context.options.clock.monotonic();
  }

  /** Whose the files are. The server may be writing the file: what is half written is read again. */
  async #control(): Promise<{ owner: Received['owner']; minRecoveryTimeline: number }> {
    const path = 'global/pg_control';
    const absolute = join(this.#place.dataDir, path);
    for (let tries = 1; ; tries++) {
      try {
        const { content, uid, gid, mode } = readWhole(absolute, this.#place.owner);
        const { systemId, minRecoveryTimeline } = readControlFile(content);
        if (systemId !== this.#context.source.systemId)
          throw sourceUnreadable(absolute, `it is of cluster ${systemId}`);
        this.#context.ingest.whole(path, content, { uid, gid, mode });
        return { owner: { uid, gid }, minRecoveryTimeline };
      } catch (thrown) {
        if (!(thrown instanceof HelvinoError)) throw sourceUnreadable(absolute, thrown);
        if (thrown.code !== 'PROTOCOL' || tries >= mostTries) throw thrown;
        await this.#context.options.clock.sleep(controlPause, this.#context.options.signal);
      }
    }
  }
}

/** A standby that followed its primary to a new timeline has files that the WAL of the old one does not explain. */
function assertOneTimeline(recovered: number, started: number): void {
  if (recovered === 0 || recovered === started) return;
  throw timelineChanged(`the server went from timeline ${started} to ${recovered} during the backup`);
}

function readWhole(
  path: string,
  owner: number | undefined,
): Pick<Stats, 'uid' | 'gid' | 'mode'> & { content: Buffer } {
  const opened = openSourceFile(path, owner);
  if (opened === undefined) throw sourceUnreadable(path, 'it is gone');
  const { fd, stat } = opened;
  try {
    const content = Buffer.alloc(Math.min(stat.size, longestControl));
    const { uid, gid, mode } = stat;
    return { content: content.subarray(0, readAt(fd, content, 0)), uid, gid, mode };
  } finally {
    closeSync(fd);
  }
}

/** What a file has lost since it was opened is zero, as in what the server sends. */
function fill(fd: number, into: Uint8Array, { offset, path }: { offset: number; path: string }): void {
  try {
    into.fill(0, readAt(fd, into, offset));
  } catch (thrown) {
    throw sourceUnreadable(path, thrown);
  }
}

function entryOf({ path, type, target }: DirectoryItem, stat: Stats): TarEntry {
  return {
    path,
    type,
    linkTarget: target,
    size: type === 'file' ? stat.size : 0,
    mode: stat.mode,
    uid: stat.uid,
    gid: stat.gid,
    mtime: Math.floor(stat.mtimeMs / 1000),
  };
}
