/** A connection that speaks the replication protocol: https://www.postgresql.org/docs/current/protocol-replication.html */
import { HelvinoError } from '../../base/errors.ts';
import { connectServer } from '../connect.ts';
import type { ConnectionParams } from '../conninfo.ts';
import { parseLsn } from '../lsn.ts';
import { copyDataMessage, copyDoneMessage, queryMessage } from '../wire/frontend-messages.ts';
import {
  type BaseBackupOptions,
  type BaseBackupResult,
  type BaseBackupSink,
  runBaseBackup,
} from './base-backup.ts';
import { Channel } from './channel.ts';
import { quoteName } from './quote.ts';
import { column, type RawRow, RowExchange } from './row-exchange.ts';
import {
  type PhysicalReplicationOptions,
  startWalStream,
  type WalSink,
  type WalStream,
} from './wal-stream.ts';

/** Throws SERVER_UNREACHABLE, SERVER_AUTH (with the missing right or pg_hba.conf line as hint), SERVER_TLS, INTERRUPTED … */
export async function openReplication(
  params: ConnectionParams,
  { signal }: { signal?: AbortSignal } = {},
): Promise<ReplicationConnection> {
  const connected = await connectServer(params, { database: 'replication', replication: true, signal });
  const channel = new Channel(connected, params.user);
  try {
    const [row] = await rows(channel, 'SHOW server_version_num');
    return new ReplicationConnection(channel, Number(column(row, 'server_version_num')));
  } catch (thrown) {
    await channel.close();
    throw thrown;
  }
}

/**
 * One command at a time. Server errors are SERVER_* with `sqlstate` in the context and leave the connection usable; a broken
 * connection is SERVER_GONE, for the command at hand and all later ones.
 */
export class ReplicationConnection {
  /** E.g. 150018. */
  readonly serverVersion: number;
  readonly #channel: Channel;

  constructor(channel: Channel, serverVersion: number) {
    this.#channel = channel;
    this.serverVersion = serverVersion;
  }

  /** `xlogpos`: how far WAL is flushed (on a standby: replayed). */
  async identify(): Promise<{ systemId: string; timeline: number; xlogpos: bigint }> {
    const [row] = await rows(this.#channel, 'IDENTIFY_SYSTEM');
    return {
      systemId: column(row, 'systemid'),
      timeline: Number(column(row, 'timeline')),
      xlogpos: parseLsn(column(row, 'xlogpos')),
    };
  }

  /** A setting as SHOW prints it: `16MB`. */
  async show(name: string): Promise<string> {
    const [row] = await rows(this.#channel, `SHOW ${quoteName(name)}`);
    return Object.values(row ?? {})[0]?.toString() ?? '';
  }

  /** Any command, with its last result set as texts. */
  async command(sql: string): Promise<Record<string, string | null>[]> {
    const result = await rows(this.#channel, sql);
    return result.map((row) =>
      Object.fromEntries(Object.entries(row).map(([name, value]) => [name, value?.toString() ?? null])),
    );
  }

  /** A physical slot that keeps WAL from now on and goes with the connection. */
  async createTemporarySlot(name: string): Promise<void> {
    const reserve = this.serverVersion >= 150000 ? '(RESERVE_WAL)' : 'RESERVE_WAL';
    await rows(this.#channel, `CREATE_REPLICATION_SLOT ${quoteName(name)} TEMPORARY PHYSICAL ${reserve}`);
  }

  /** A name that no other connection to the server can take while this one lasts: a temporary slot that keeps no WAL. */
  async claimName(name: string): Promise<void> {
    await rows(this.#channel, `CREATE_REPLICATION_SLOT ${quoteName(name)} TEMPORARY PHYSICAL`);
  }

  /** A physical slot that stays, and keeps WAL from now on. */
  async createSlot(name: string): Promise<void> {
    const reserve = this.serverVersion >= 150000 ? '(RESERVE_WAL)' : 'RESERVE_WAL';
    await rows(this.#channel, `CREATE_REPLICATION_SLOT ${quoteName(name)} PHYSICAL ${reserve}`);
  }

  /** A slot that nobody uses. */
  async dropSlot(name: string): Promise<void> {
    await rows(this.#channel, `DROP_REPLICATION_SLOT ${quoteName(name)}`);
  }

  /** The content of the timeline's history file; not for timeline 1, which has none. */
  async timelineHistory(timeline: number): Promise<Uint8Array> {
    const [row] = await rows(this.#channel, `TIMELINE_HISTORY ${timeline}`);
    const content = row?.content;
    if (!content) throw new HelvinoError('PROTOCOL', `the server sent no history of timeline ${timeline}`);
    return content;
  }

  /** The file list that the next incremental base backup on this connection is made against (17+). See `backupManifest`. */
  async uploadManifest(body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    const exchange = new UploadExchange(this.#channel, body);
    await this.#channel.run(queryMessage('UPLOAD_MANIFEST'), exchange);
  }

  /**
   * A bad page checksum is SERVER_CORRUPT with `pages` in the context; an exception of the sink ends the connection and is
   * what is thrown.
   */
  async baseBackup(options: BaseBackupOptions, sink: BaseBackupSink): Promise<BaseBackupResult> {
    return runBaseBackup(this.#channel, this.serverVersion, { options, sink });
  }

  async startPhysicalReplication(options: PhysicalReplicationOptions, sink: WalSink): Promise<WalStream> {
    return startWalStream(this.#channel, options, sink);
  }

  /** Also ends what runs on it. */
  async close(): Promise<void> {
    await this.#channel.close();
  }
}

async function rows(channel: Channel, sql: string): Promise<RawRow[]> {
  const exchange = new RowExchange();
  await channel.run(queryMessage(sql), exchange);
  return exchange.sets.at(-1) ?? [];
}

const copyInResponse = 0x47;

class UploadExchange extends RowExchange {
  readonly #channel: Channel;
  readonly #body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  #stop = false;

  constructor(channel: Channel, body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
    super();
    this.#channel = channel;
    this.#body = body;
  }

  /** What is still sent after an error is dropped by the server. */
  errored(): void {
    this.#stop = true;
  }

  protected override other(type: number): boolean {
    if (type !== copyInResponse) return false;
    this.#send().catch((thrown: unknown) => this.#channel.fail(thrown));
    return true;
  }

  async #send(): Promise<void> {
    for await (const piece of this.#body) {
      if (this.#stop) return;
      if (piece.length > 0) await this.#channel.write(copyDataMessage(piece));
    }
    if (!this.#stop) void this.#channel.write(copyDoneMessage);
  }
}
