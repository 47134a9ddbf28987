/**
 * Tells from WAL what each transaction did: rows inserted, updated and deleted per relation, tables created, dropped,
 * truncated and rewritten, databases dropped. Synchronous; no input or output. Rows are counted by records, so the counts
 * are exact: subtransactions that were rolled back, aborted transactions, TOAST, moved and rewritten rows do not count.
 * Formats: src/include/access/heapam_xlog.h, catalog/storage_xlog.h, commands/dbcommands_xlog.h, storage/standbydefs.h.
 */
import { HelvinoError } from '../../base/errors.ts';
import type { CatalogSnapshot } from '../catalog-snapshot.ts';
import { formatLsn } from '../lsn.ts';
import { readClassRow } from './class-row.ts';
import { dropsDatabase } from './database-drop.ts';
import type { IndexedTransaction, IndexState, LogIndexPart, WalDamage } from './log-index.ts';
import { NameKeeper } from './name-keeper.ts';
import {
  mergeTransaction,
  newTransaction,
  type OpenTransaction,
  type RowCounts,
  restoreTransaction,
  storeTransaction,
} from './open-transactions.ts';
import { RecordLayout, unexpectedRecord } from './record-layout.ts';
import { placeOf } from './relation-names.ts';
import { fileNumber, type TransactionEnd, transactionEnd } from './transaction-records.ts';
import { type SpanningRecord, WalReader, type WalRecord } from './wal-reader.ts';

const rmXact = 1;
const rmSmgr = 2;
const rmDbase = 4;
const rmRelationMap = 7;
const rmStandby = 8;
const rmHeap2 = 9;
const rmHeap = 10;
const opMask = 0x70;
const heapInsert = 0x00;
const heapDelete = 0x10;
const heapUpdate = 0x20;
const heapTruncate = 0x30;
const heapHotUpdate = 0x40;
const multiInsert = 0x50;
const deleteIsSuper = 0x08;
const deleteIsMove = 0x10;
const smgrCreate = 0x10;
const smgrTruncate = 0x20;
const runningXacts = 0x10;
const firstUserFile = 16384;
/** Oid of pg_class. */
const classOid = 1259;

export interface WalIndexerOptions {
  /** Of the first byte that will be pushed: a segment's begin. */
  readonly start: bigint;
  readonly segmentSize: number;
  /** Where an earlier run ended: its records are not counted again. */
  readonly state?: IndexState;
  /** A timeline that began with a recovery: what was open before it is gone, so all transactions are seen whole from here on. */
  readonly forkedAt?: bigint;
  /** Fewer details in names: snapshots that hold at the start and those that will come to hold. */
  readonly snapshots?: readonly CatalogSnapshot[];
}

export class WalIndexer {
  readonly #segmentSize: number;
  readonly #layout = new RecordLayout();
  readonly #open = new Map<number, OpenTransaction>();
  readonly #names: NameKeeper;
  #reader: WalReader;
  #position: number;
  /** Records that end here or before were counted by an earlier run. */
  readonly #countedTo: number;
  #lastEnd: number;
  #order = 0;
  #wholeFrom: number | null = null;
  #begin: number;
  #transactions: IndexedTransaction[] = [];
  #damaged: WalDamage[] = [];
  #skipTo = 0;

  constructor({ start, segmentSize, state, forkedAt, snapshots = [] }: WalIndexerOptions) {
    this.#segmentSize = segmentSize;
    this.#position = Number(start);
    const counted = Number(state?.lastEnd ?? forkedAt ?? start);
    this.#countedTo = counted;
    this.#lastEnd = counted;
    this.#begin = Math.max(counted, this.#position);
    if (state) {
      this.#order = state.order;
      this.#wholeFrom = state.wholeFrom;
      for (const stored of state.open) this.#open.set(stored.xid, restoreTransaction(stored));
    } else if (forkedAt !== undefined) this.#wholeFrom = 0;
    this.#names = new NameKeeper(state?.recent);
    for (const snapshot of snapshots) this.#names.add(snapshot);
    this.#names.reach(counted);
    const spanning = state?.spanning?.at === String(start) ? state.spanning : undefined;
    // What it did is not known: its content was not kept.
    if (spanning) this.#wholeFrom = null;
    this.#reader = this.#newReader(spanning);
  }

  /** A snapshot that holds from its own position on. */
  addSnapshot(snapshot: CatalogSnapshot): void {
    this.#names.add(snapshot);
  }

  /** Databases whose pg_class was changed by what was committed since the last call. */
  takeChangedDatabases(): number[] {
    return this.#names.takeChanged();
  }

  /** Damage does not throw: it is noted, and reading goes on with the next segment. */
  push(bytes: Uint8Array): void {
    const skipped = Math.min(Math.max(0, this.#skipTo - this.#position), bytes.length);
    this.#position += skipped;
    if (skipped === bytes.length) return;
    if (this.#skipTo === this.#position) {
      this.#lastEnd = Math.max(this.#lastEnd, Number(this.#reader.lastEnd));
      this.#reader = this.#newReader();
    }
    const rest = bytes.subarray(skipped);
    const at = this.#position;
    this.#position += rest.length;
    try {
      this.#reader.push(rest);
    } catch (thrown) {
      const bad = Math.max(Number(this.#reader.lastEnd), at);
      this.#skipTo = bad - (bad % this.#segmentSize) + this.#segmentSize;
      this.#damaged.push(
        damageOf(thrown, { lastEnd: this.#reader.lastEnd, resumesAt: BigInt(this.#skipTo) }),
      );
      this.#resume(rest, at);
    }
  }

  /** Behind damage: at the next segment, of which `bytes` may hold the begin already. */
  #resume(bytes: Uint8Array, at: number): void {
    // Transactions that wrote into what is skipped are not known whole.
    this.#wholeFrom = null;
    const left = this.#position - this.#skipTo;
    if (left < 0) return;
    this.#position = this.#skipTo;
    this.#reader = this.#newReader();
    this.push(bytes.subarray(this.#position - at));
  }

  /**
   * What was committed since the last part; the part ends with the last whole record. `goesOn`: the segment from whose begin
   * another indexer may be asked to go on.
   */
  take(goesOn = BigInt(this.#position)): LogIndexPart {
    this.#lastEnd = Math.max(this.#lastEnd, Number(this.#reader.lastEnd));
    const end = Math.max(this.#lastEnd, this.#begin);
    const part: LogIndexPart = {
      begin: BigInt(this.#begin),
      end: BigInt(end),
      transactions: this.#transactions,
      damaged: this.#damaged,
      state: {
        lastEnd: String(this.#lastEnd),
        order: this.#order,
        wholeFrom: this.#wholeFrom,
        open: [...this.#open].map(([xid, transaction]) => storeTransaction(xid, transaction)),
        recent: [...this.#names.recent],
        ...this.#spanning(goesOn),
      },
    };
    this.#begin = end;
    this.#transactions = [];
    this.#damaged = [];
    return part;
  }

  #spanning(goesOn: bigint): Pick<IndexState, 'spanning'> {
    if (this.#position < this.#skipTo) return {};
    const spanning = this.#reader.spanningAt(goesOn) ?? this.#reader.spanning;
    return spanning ? { spanning } : {};
  }

  #newReader(spanning?: SpanningRecord): WalReader {
    return new WalReader({
      spanning,
      start: BigInt(this.#position),
      segmentSize: this.#segmentSize,
      onRecord: (record) => this.#record(record),
    });
  }

  #record(record: WalRecord): void {
    if (record.after <= this.#countedTo) return;
    this.#order++;
    const { resourceManager } = record;
    if (resourceManager === rmHeap) this.#heap(record);
    else if (resourceManager === rmHeap2) {
      if ((record.info & opMask) === multiInsert) this.#multiInsert(record);
    } else if (resourceManager === rmXact) this.#end(record);
    else if (resourceManager === rmSmgr) this.#storage(record);
    else if (resourceManager === rmDbase) this.#database(record);
    else if (resourceManager === rmRelationMap) this.#relationMap(record);
    else if (resourceManager === rmStandby && (record.info & 0xf0) === runningXacts) this.#running(record);
  }

  #heap(record: WalRecord): void {
    const op = record.info & opMask;
    if (op > heapHotUpdate) return;
    const layout = this.#layout;
    layout.read(record);
    if (op === heapTruncate) {
      this.#truncate(record);
      return;
    }
    const [block] = layout.blocks;
    if (layout.blockCount === 0 || block!.fork !== 0) return;
    const { database, file } = block!;
    if (file === this.#names.classFile(database)) this.#classRow(record, op);
    else if (file >= firstUserFile) this.#rows(record, op, this.#counts(record.xid, database, file));
  }

  #rows(record: WalRecord, op: number, counts: RowCounts): void {
    if (op === heapInsert) counts.inserted++;
    else if (op === heapDelete) {
      const flags = record.buffer[this.#layout.mainOffset + 7]!;
      // A speculative insertion that is taken back; a row that moves to another partition.
      if (flags & deleteIsSuper) counts.inserted--;
      else if (flags & deleteIsMove) counts.updated++;
      else counts.deleted++;
    } else counts.updated++;
  }

  #counts(xid: number, database: number, file: number): RowCounts {
    const transaction = this.#transaction(xid, database);
    let counts = transaction.counts.get(file);
    if (counts === undefined) {
      counts = { database, file, inserted: 0, updated: 0, deleted: 0 };
      transaction.counts.set(file, counts);
    }
    return counts;
  }

  #transaction(xid: number, database: number): OpenTransaction {
    let transaction = this.#open.get(xid);
    if (transaction === undefined) {
      transaction = newTransaction(database);
      this.#open.set(xid, transaction);
    }
    transaction.database ||= database;
    return transaction;
  }

  #multiInsert(record: WalRecord): void {
    const layout = this.#layout;
    layout.read(record);
    const [block] = layout.blocks;
    if (layout.blockCount === 0 || block!.file < firstUserFile || block!.fork !== 0) return;
    if (block!.file === this.#names.classFile(block!.database)) return;
    this.#counts(record.xid, block!.database, block!.file).inserted += record.buffer.readUInt16LE(
      layout.mainOffset + 2,
    );
  }

  /** A row of pg_class. */
  #classRow(record: WalRecord, op: number): void {
    const layout = this.#layout;
    const { buffer, major } = record;
    const main = layout.mainOffset;
    const [block, second] = layout.blocks;
    const { changes } = this.#transaction(record.xid, block!.database);
    const order = this.#order;
    if (op === heapInsert) {
      const item = buffer.readUInt16LE(main);
      const row = readClassRow(buffer, block!, { item, major });
      changes.push({ order, kind: 'insert', place: placeOf(block!.block, item), row });
    } else if (op === heapDelete) {
      changes.push({ order, kind: 'delete', place: placeOf(block!.block, buffer.readUInt16LE(main + 4)) });
    } else if (op === heapUpdate || op === heapHotUpdate) {
      const old = layout.blockCount > 1 ? second! : block!;
      const from = placeOf(old.block, buffer.readUInt16LE(main + 4));
      changes.push({
        order,
        kind: 'update',
        from,
        to: placeOf(block!.block, buffer.readUInt16LE(main + 12)),
      });
    }
  }

  /** Written with wal_level logical only; otherwise a truncation shows in pg_class. */
  #truncate(record: WalRecord): void {
    const data = this.#layout.mainData(record);
    if (data.length < 12) throw unexpectedRecord(record);
    const count = data.readUInt32LE(4);
    const relations = Array.from({ length: Math.min(count, (data.length - 12) >> 2) }, (_, i) =>
      data.readUInt32LE(12 + 4 * i),
    );
    const { changes } = this.#transaction(record.xid, data.readUInt32LE(0));
    changes.push({ order: this.#order, kind: 'truncate', relations });
  }

  #storage(record: WalRecord): void {
    const op = record.info & 0xf0;
    if (op !== smgrCreate && op !== smgrTruncate) return;
    this.#layout.read(record);
    const data = this.#layout.mainData(record);
    if (data.length < 16) throw unexpectedRecord(record);
    if (op === smgrCreate) {
      const place = fileNumber(data, 0);
      if (data.readUInt32LE(12) === 0) this.#fileMade(record.xid, place);
      return;
    }
    // TRUNCATE of a table that this transaction made: its rows so far are gone. VACUUM cuts files without a transaction.
    const { file } = fileNumber(data, 4);
    if (data.readUInt32LE(0) !== 0 || record.xid === 0) return;
    // It holds the table alone: rows that any open transaction put there are its own subtransactions'.
    for (const { counts } of this.#open.values()) counts.delete(file);
  }

  /**
   * VACUUM FULL gives pg_class another file, just before its commit; its rows are at other places then. Format:
   * src/include/utils/relmapper.h, xl_relmap_update; RelMapFile in src/backend/utils/cache/relmapper.c.
   */
  #relationMap(record: WalRecord): void {
    this.#layout.read(record);
    const data = this.#layout.mainData(record);
    if (data.length < 20) throw unexpectedRecord(record);
    const database = data.readUInt32LE(0);
    const last = Math.min(20 + 8 * data.readUInt32LE(16), data.length - 7);
    for (let at = 20; at < last; at += 8) {
      const file = data.readUInt32LE(at + 4);
      if (data.readUInt32LE(at) !== classOid || file === this.#names.classFile(database)) continue;
      this.#names.moveClass(database, file);
      const transaction = this.#open.get(record.xid);
      if (!transaction) continue;
      // Its passing relation was inserted into the old file and deleted from the new one.
      transaction.changes.length = 0;
      transaction.counts.delete(file);
    }
  }

  #fileMade(xid: number, place: { tablespace: number; database: number; file: number }): void {
    // Without a transaction number the row of pg_class that follows names the file.
    if (xid === 0 || place.file < firstUserFile) return;
    const { changes } = this.#transaction(xid, place.database);
    changes.push({ order: this.#order, kind: 'file', file: place.file, tablespace: place.tablespace });
  }

  #database(record: WalRecord): void {
    if (!dropsDatabase(record)) return;
    this.#layout.read(record);
    const data = this.#layout.mainData(record);
    if (data.length < 4) throw unexpectedRecord(record);
    this.#transaction(record.xid, 0).droppedDatabases.push(data.readUInt32LE(0));
  }

  /** What is running is known from time to time: transactions that a crash cut off are forgotten then. */
  #running(record: WalRecord): void {
    this.#layout.read(record);
    const data = this.#layout.mainData(record);
    if (data.length < 24) throw unexpectedRecord(record);
    this.#wholeFrom ??= data.readUInt32LE(12);
    const oldest = data.readUInt32LE(16);
    // Kept, the number would be ahead of those that come after two thousand million more.
    if (this.#wholeFrom !== 0 && !precedes(oldest, this.#wholeFrom)) this.#wholeFrom = 0;
    for (const xid of this.#open.keys()) if (precedes(xid, oldest)) this.#open.delete(xid);
  }

  #end(record: WalRecord): void {
    const ended = transactionEnd(record);
    if (!ended) return;
    const transaction = this.#open.get(ended.xid) ?? newTransaction();
    this.#open.delete(ended.xid);
    for (const xid of ended.subtransactions) {
      const part = this.#open.get(xid);
      if (part) mergeTransaction(transaction, part);
      this.#open.delete(xid);
    }
    if (ended.kind === 'commit') this.#commit(record, ended, transaction);
  }

  #commit(record: WalRecord, ended: TransactionEnd, transaction: OpenTransaction): void {
    const { xid, time, files } = ended;
    this.#names.reach(record.start);
    const { changes, droppedDatabases } = this.#names.describe({ xid, at: record.start, files }, transaction);
    const partial = this.#wholeFrom === null || (this.#wholeFrom > 0 && precedes(xid, this.#wholeFrom));
    const { lsn, end } = record;
    this.#transactions.push({ xid, time: Number(time), lsn, end, partial, changes, droppedDatabases });
  }
}

/** A record that bears its CRC out and yet is not laid out as we know it is noted, too, but a server replays it. */
function damageOf(
  thrown: unknown,
  { lastEnd, resumesAt }: { lastEnd: bigint; resumesAt: bigint },
): WalDamage {
  if (thrown instanceof HelvinoError && thrown.code === 'PROTOCOL') {
    const { lsn, lastGood } = thrown.context;
    const lost = lastGood === undefined ? {} : { lost: { from: String(lastGood), to: formatLsn(resumesAt) } };
    return { lsn: String(lsn), message: thrown.message, ...lost };
  }
  if (!(thrown instanceof RangeError)) throw thrown;
  const lsn = formatLsn(lastEnd);
  return { lsn, message: `the WAL record before ${lsn} is not laid out as expected` };
}

/** Transaction numbers wrap around: https://www.postgresql.org/docs/current/routine-vacuuming.html#VACUUM-FOR-WRAPAROUND */
function precedes(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}
