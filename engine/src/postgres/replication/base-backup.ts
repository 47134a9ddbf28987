/**
 * `BASE_BACKUP`: https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-BASE-BACKUP, and the
 * form that version 14 has: https://www.postgresql.org/docs/14/protocol-replication.html. Tablespaces arrive as archives of
 * their own, and as symlinks in the main one, since TABLESPACE_MAP is not asked for; no manifest is asked for either.
 */
import { HelvinoError } from '../../base/errors.ts';
import { BadPages } from '../bad-pages.ts';
import { parseLsn } from '../lsn.ts';
import { queryMessage } from '../wire/frontend-messages.ts';
import { MessageBody } from '../wire/message-body.ts';
import type { ServerMessage } from '../wire/server-error.ts';
import type { Channel } from './channel.ts';
import { quoteLiteral } from './quote.ts';
import { column, type RawRow, RowExchange, unexpected } from './row-exchange.ts';

export interface BaseBackupOptions {
  readonly label: string;
  /** Checkpoint at once, instead of spread over checkpoint_completion_target. */
  readonly fast: boolean;
  readonly maxRateKiB?: number;
  /** Changed blocks only (17+), against the manifest that was uploaded on this connection. */
  readonly incremental?: boolean;
  readonly verifyChecksums: boolean;
  /** Have the server estimate sizes before it begins. */
  readonly progress: boolean;
  /** Put the WAL that is needed into the archive. */
  readonly wal: boolean;
  /** Wait until the server has archived the last WAL file. */
  readonly waitForWal?: boolean;
  /** Aborting closes the connection. */
  readonly signal?: AbortSignal;
}

interface BackupTablespace {
  /** Undefined: the data directory itself. */
  readonly oid: string | undefined;
  readonly location: string;
  /** Undefined without `progress`. */
  readonly sizeKiB: number | undefined;
}

/** Called in this order: started, then for each archive `archive` and its `data`. What it throws aborts the backup. */
export interface BaseBackupSink {
  started(info: {
    readonly startLsn: bigint;
    readonly startTimeline: number;
    readonly tablespaces: readonly BackupTablespace[];
  }): void;
  /** An archive begins. `oid` undefined: that of the data directory itself. */
  archive(info: { readonly oid: string | undefined }): void;
  /** Bytes of a tar archive. A view that is valid during the call only. */
  data(bytes: Uint8Array): void;
  /** Asked after every socket read: if a promise, nothing is read until it resolves. */
  ready(): Promise<void> | undefined;
  notice(severity: string, message: string, code: string): void;
}

export interface BaseBackupResult {
  readonly startLsn: bigint;
  readonly startTimeline: number;
  readonly stopLsn: bigint;
  readonly stopTimeline: number;
}

/** `version`: of the server, e.g. 150018. */
export async function runBaseBackup(
  channel: Channel,
  version: number,
  { options, sink }: { options: BaseBackupOptions; sink: BaseBackupSink },
): Promise<BaseBackupResult> {
  const exchange = version >= 150000 ? new BaseBackupExchange(sink) : new OldBaseBackupExchange(sink);
  await channel.run(queryMessage(baseBackupCommand(version, options)), exchange, options.signal);
  return exchange.result();
}

/** MAXPGPATH: do_pg_backup_start of every version refuses a longer one. */
const mostLabelBytes = 1024;

/** Throws USAGE: the label is a line of `backup_label`. */
export function assertPlainLabel(label: string): void {
  const bytes = Buffer.byteLength(label);
  if (bytes > mostLabelBytes)
    throw new HelvinoError(
      'USAGE',
      `the label of a backup has ${bytes} bytes, and PostgreSQL takes ${mostLabelBytes}`,
      { hint: 'use a shorter one; --note takes longer texts' },
    );
  for (const char of label) {
    if (char < ' ')
      throw new HelvinoError('USAGE', 'the label of a backup has a control character', {
        hint: 'use plain text',
      });
  }
}

export function baseBackupCommand(version: number, options: BaseBackupOptions): string {
  assertPlainLabel(options.label);
  const label = quoteLiteral(options.label);
  if (version < 150000) {
    const words = [
      `LABEL ${label}`,
      options.progress && 'PROGRESS',
      options.fast && 'FAST',
      options.wal && 'WAL',
    ];
    words.push(
      !options.waitForWal && 'NOWAIT',
      options.maxRateKiB !== undefined && `MAX_RATE ${options.maxRateKiB}`,
    );
    words.push(!options.verifyChecksums && 'NOVERIFY_CHECKSUMS');
    return `BASE_BACKUP ${words.filter(Boolean).join(' ')}`;
  }
  const words = [
    `LABEL ${label}`,
    `PROGRESS ${options.progress}`,
    `CHECKPOINT '${options.fast ? 'fast' : 'spread'}'`,
    `WAL ${options.wal}`,
  ];
  words.push(
    `WAIT ${options.waitForWal ?? false}`,
    `VERIFY_CHECKSUMS ${options.verifyChecksums}`,
    `MANIFEST 'no'`,
  );
  if (options.maxRateKiB !== undefined) words.push(`MAX_RATE ${options.maxRateKiB}`);
  if (options.incremental) words.push('INCREMENTAL');
  return `BASE_BACKUP (${words.join(', ')})`;
}

const copyOutResponse = 0x48;
const copyDone = 0x63;
/** A warning for each bad page, up to five a file. */
const badPage = /checksum verification failed in file "([^"]+)", block (\d+)/;

/** What the versions have in common. Result sets: start, tablespaces, and after all archives the end. */
abstract class BackupExchange extends RowExchange {
  protected readonly sink: BaseBackupSink;
  protected copies = 0;
  #start: { startLsn: bigint; startTimeline: number } | undefined;
  readonly #badPages = new BadPages();

  constructor(sink: BaseBackupSink) {
    super();
    this.sink = sink;
  }

  result(): BaseBackupResult {
    const end = position(this.sets[2]?.[0]);
    if (!this.#start)
      throw new HelvinoError('PROTOCOL', 'the server ended the backup without having begun it');
    return { ...this.#start, stopLsn: end.lsn, stopTimeline: end.timeline };
  }

  ready(): Promise<void> | undefined {
    return this.sink.ready();
  }

  notice({ severity, message, code }: ServerMessage): void {
    const match = badPage.exec(message);
    if (match) this.#badPages.add({ file: match[1]!.replace(/^\.\//, ''), block: Number(match[2]) });
    this.sink.notice(severity, message, code);
  }

  mapError(error: HelvinoError): HelvinoError {
    return error.code === 'SERVER_CORRUPT' && this.#badPages.any
      ? this.#badPages.error(error.message, error)
      : error;
  }

  protected tablespaces(): BackupTablespace[] {
    return (this.sets[1] ?? []).map((row) => ({
      oid: row.spcoid?.toString(),
      location: row.spclocation?.toString() ?? '',
      sizeKiB: row.size ? Number(row.size.toString()) : undefined,
    }));
  }

  protected override other(type: number): boolean {
    if (type === copyOutResponse) this.#copyBegins();
    return type === copyOutResponse || type === copyDone;
  }

  protected begun(): void {}

  #copyBegins(): void {
    if (!this.#start) {
      const { lsn, timeline } = position(this.sets[0]?.[0]);
      this.#start = { startLsn: lsn, startTimeline: timeline };
      this.sink.started({ ...this.#start, tablespaces: this.tablespaces() });
    }
    this.copies++;
    this.begun();
  }
}

function position(row: RawRow | undefined): { lsn: bigint; timeline: number } {
  return { lsn: parseLsn(column(row, 'recptr')), timeline: Number(column(row, 'tli')) };
}

/** Before 15: one copy for each archive, in the order of the tablespace list. */
class OldBaseBackupExchange extends BackupExchange {
  override copyStart(): void {}

  override copyData(bytes: Uint8Array): void {
    this.sink.data(bytes);
  }

  protected override begun(): void {
    const tablespace = this.tablespaces()[this.copies - 1];
    if (!tablespace) throw new HelvinoError('PROTOCOL', 'the server sent more archives than tablespaces');
    this.sink.archive({ oid: tablespace.oid });
  }
}

const newArchive = 0x6e;
const archiveData = 0x64;
const progressReport = 0x70;
const none = -1;
/** Names of archives and counts of bytes are far shorter. */
const longestSmall = 16 << 10;

/** Since 15: one copy; the first byte of each CopyData says what it is. */
class BaseBackupExchange extends BackupExchange {
  #kind = none;
  #open = false;
  #small: Buffer[] = [];
  #smallSize = 0;

  override copyStart(): void {
    this.#kind = none;
  }

  override copyData(bytes: Uint8Array): void {
    if (this.#kind === archiveData) {
      this.sink.data(bytes);
      return;
    }
    if (this.#kind !== none) {
      this.#keep(bytes);
      return;
    }
    this.#kind = bytes[0]!;
    if (this.#kind === archiveData && !this.#open) throw unexpected(archiveData);
    if (this.#kind !== archiveData && this.#kind !== newArchive && this.#kind !== progressReport)
      throw unexpected(this.#kind);
    if (bytes.length > 1) this.copyData(bytes.subarray(1));
  }

  override copyEnd(): void {
    if (this.#kind === newArchive) this.#newArchive(new MessageBody(Buffer.concat(this.#small)));
    this.#small = [];
    this.#smallSize = 0;
  }

  #keep(bytes: Uint8Array): void {
    this.#smallSize += bytes.length;
    if (this.#smallSize > longestSmall) throw unexpected(this.#kind);
    this.#small.push(Buffer.from(bytes));
  }

  /** The archive's name, `base.tar` or `OID.tar`, and the folder of the tablespace. */
  #newArchive(body: MessageBody): void {
    const name = body.text();
    const oid = /^(\d+)\.tar$/.exec(name)?.[1];
    if (oid === undefined && name !== 'base.tar')
      throw new HelvinoError('PROTOCOL', `the server sent an archive ${JSON.stringify(name)}`);
    this.#open = true;
    this.sink.archive({ oid });
  }
}
