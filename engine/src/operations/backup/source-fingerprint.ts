/**
 * What the source held at one exact WAL position: the truth that a drill compares a restore with. A snapshot of every
 * database is taken at a moment when no WAL was being written; the backup's WAL ends at that position.
 */
import type { Client } from 'pg';
import type { Progress } from '../../base/progress.ts';
import {
  connectSql,
  fingerprintDatabase,
  formatLsn,
  type QuietPoint,
  type TableFingerprint,
  takeQuietPoint,
} from '../../postgres/index.ts';
import type { BackupOptions } from './backup.ts';
import type { SourceFacts } from './source.ts';

export type FingerprintMode = 'auto' | 'full' | 'counts' | 'off';

export interface DatabaseFingerprint extends TableFingerprint {
  readonly database: string;
}

export interface SourceTables {
  readonly state: 'taken' | 'unproven';
  readonly reason?: string;
  readonly tables: readonly DatabaseFingerprint[];
}

export class SourceFingerprint {
  readonly #options: BackupOptions;
  readonly #source: SourceFacts;
  #point: QuietPoint | undefined;
  #reason: string | undefined;

  constructor(options: BackupOptions, source: SourceFacts) {
    this.#options = options;
    this.#source = source;
  }

  /** The WAL position of the snapshots; undefined when there is none, with the reason kept. */
  async takePoint(): Promise<bigint | undefined> {
    const { fingerprint, connection, signal, progress } = this.#options;
    if (fingerprint === 'off') return this.#without('fingerprint is off in the configuration');
    progress.phase('waiting for a quiet moment of the source');
    try {
      const open = (database: string) => connectSql(connection, { database });
      const point = await takeQuietPoint(open, {
        databases: this.#source.databases,
        walSegmentSize: this.#source.walSegmentSize,
        signal,
      });
      if (point.state === 'busy') return this.#without(point.reason);
      this.#point = point.point;
      progress.note('info', `the content of the source is recorded as of ${formatLsn(point.point.lsn)}`);
      return point.point.lsn;
    } catch (thrown) {
      signal.throwIfAborted();
      return this.#without(`the source could not be read: ${(thrown as Error).message}`);
    }
  }

  async tables(progress: Progress, signal: AbortSignal): Promise<SourceTables> {
    if (!this.#point) return { state: 'unproven', reason: this.#reason, tables: [] };
    const tables: DatabaseFingerprint[] = [];
    try {
      for (const [database, client] of this.#point.clients) {
        for (const table of await this.#read(client, progress, signal)) tables.push({ ...table, database });
      }
    } catch (thrown) {
      signal.throwIfAborted();
      return {
        state: 'unproven',
        reason: `the source could not be read: ${(thrown as Error).message}`,
        tables: [],
      };
    } finally {
      await this.close();
    }
    return { state: 'taken', tables };
  }

  async close(): Promise<void> {
    const point = this.#point;
    this.#point = undefined;
    await point?.close();
  }

  #read(client: Client, progress: Progress, signal: AbortSignal): Promise<TableFingerprint[]> {
    const { fingerprint, fingerprintMaxBytes } = this.#options;
    const small = (this.#source.bytes ?? Number.POSITIVE_INFINITY) <= fingerprintMaxBytes;
    const content = fingerprint === 'full' || (fingerprint === 'auto' && small);
    return fingerprintDatabase(client, { content, signal, progress });
  }

  #without(reason: string): undefined {
    this.#reason = reason;
    this.#options.progress.note('warn', `row counts and content of the source were not recorded: ${reason}`);
    return undefined;
  }
}
