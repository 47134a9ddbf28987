/**
 * DROP DATABASE in WAL: its files go before its transaction commits, and without it. Formats:
 * src/include/access/heapam_xlog.h, commands/dbcommands_xlog.h; the order: dropdb in src/backend/commands/dbcommands.c.
 */
import { RecordLayout } from './record-layout.ts';
import type { WalRecord } from './wal-reader.ts';

const rmDbase = 4;
const rmHeap = 10;
const opMask = 0x70;
const heapInplace = 0x70;
/** Of pg_database, unless it was rewritten: src/include/catalog/pg_database.h, pg_tablespace.dat. */
const databaseFile = 1262;
const globalSpace = 1664;
const layout = new RecordLayout();

/** The files of a database go with this record. */
export function dropsDatabase({ resourceManager, info, major }: WalRecord): boolean {
  return resourceManager === rmDbase && (info & 0xf0) === (major < 15 ? 0x10 : 0x20);
}

/**
 * A row of pg_database is changed in place: so a drop begins by marking its database invalid (datconnlimit -2), whatever
 * becomes of its transaction. VACUUM does the like with other columns. Throws PROTOCOL.
 */
export function marksDatabase(record: WalRecord): boolean {
  if (record.resourceManager !== rmHeap || (record.info & opMask) !== heapInplace) return false;
  layout.read(record);
  const [block] = layout.blocks;
  return layout.blockCount > 0 && block!.file === databaseFile && block!.tablespace === globalSpace;
}
