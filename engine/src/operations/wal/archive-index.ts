/**
 * The index of WAL that comes by archive_command. The WAL is worth more: whatever goes wrong here is a warning, and the
 * segment counts as archived.
 */
import { HelvinoError } from '../../base/errors.ts';
import { type ConnectionParams, connectSql } from '../../postgres/index.ts';
import { readSource } from '../backup/source.ts';
import type { StoredSegment } from './archive-intake.ts';
import { type IndexSource, StreamIndex, type StreamIndexOptions } from './stream-index.ts';

export interface ArchiveIndexOptions extends Omit<StreamIndexOptions, 'connection'> {
  readonly connection: () => Promise<ConnectionParams>;
}

export class ArchiveIndex {
  readonly #options: ArchiveIndexOptions;
  #index: StreamIndex | undefined;
  #timeline = 0;
  #next = 0n;

  constructor(options: ArchiveIndexOptions) {
    this.#options = options;
  }

  /** A segment that is stored: whole, or up to where its timeline was left. */
  async add(segment: StoredSegment): Promise<void> {
    try {
      const { timeline, begin, bytes, left } = segment;
      const end = begin + BigInt(bytes.length);
      if (timeline !== this.#timeline || begin !== this.#next) await this.#begin(segment);
      await this.#index?.congestion();
      this.#index?.push(left === undefined ? bytes : bytes.subarray(0, Number(left - begin)));
      await this.#index?.storeWhole(end);
      this.#timeline = left === undefined ? timeline : 0;
      this.#next = end;
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError) || this.#options.signal.aborted) throw thrown;
      this.#timeline = 0;
      this.#options.progress.note('warn', `the segment is stored, but not its index: ${thrown.message}`);
    }
  }

  async #begin({ timeline, begin, bytes }: StoredSegment): Promise<void> {
    if (!this.#index) {
      const { connection, source } = await this.#server();
      this.#index = new StreamIndex(
        { ...this.#options, connection },
        { ...source, walSegmentSize: bytes.length },
      );
    }
    await this.#index.begin({ timeline, start: begin, restart: undefined });
  }

  /** Names come from the server, when it can be asked. */
  async #server(): Promise<{
    connection: ConnectionParams | undefined;
    source: Pick<IndexSource, 'databases'>;
  }> {
    const { signal, progress } = this.#options;
    try {
      const connection = await this.#options.connection();
      const sql = await connectSql(connection, { signal });
      try {
        return { connection, source: await readSource(sql) };
      } finally {
        await sql.end().catch(() => undefined);
      }
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError)) throw thrown;
      progress.note('warn', `tables will have no names in \`helvino find\`: ${thrown.message}`);
      return { connection: undefined, source: { databases: [] } };
    }
  }

  async close(): Promise<void> {
    await this.#index?.close();
  }
}
