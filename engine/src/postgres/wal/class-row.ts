/**
 * A new row of pg_class out of an INSERT record: from the record's data, or from the page image that stands in its place.
 * Rows are laid out as in src/include/catalog/pg_class.h; every column up to relkind has a fixed width and is never null.
 */
import type { ClassRow } from './catalog-changes.ts';
import { pageImage } from './page-image.ts';
import type { BlockReference } from './record-layout.ts';

const pageSize = 8192;
/** xl_heap_header: two infomasks and t_hoff. */
const heapHeader = 5;
/** Of the tuple header that is not in the record (SizeofHeapTupleHeader). */
const tupleHeader = 23;
const pageHeader = 24;

/** `item`: 1 for the first of the page. Undefined when neither data nor an image is there. */
export function readClassRow(
  buffer: Buffer,
  block: BlockReference,
  { item, major }: { item: number; major: number },
): ClassRow | undefined {
  if (block.dataLength > heapHeader) {
    const columns = buffer[block.dataOffset + 4]!;
    return readRow(buffer, block.dataOffset + heapHeader + columns - tupleHeader, major);
  }
  const page = pageImage(buffer, block);
  const pointer = pageHeader + 4 * (item - 1);
  if (!page || item < 1 || pointer + 4 > pageSize) return undefined;
  const tuple = page.readUInt32LE(pointer) & 0x7fff;
  return tuple + tupleHeader > pageSize
    ? undefined
    : readRow(page, tuple + page[tuple + tupleHeader - 1]!, major);
}

function readRow(buffer: Buffer, at: number, major: number): ClassRow | undefined {
  // relallfrozen came with version 18.
  const kindAt = at + (major >= 18 ? 112 : 108) + 7;
  if (kindAt >= buffer.length) return undefined;
  const name = buffer.toString('utf8', at + 4, at + 68).split('\0')[0]!;
  return {
    oid: buffer.readUInt32LE(at),
    name,
    schema: buffer.readUInt32LE(at + 68),
    file: buffer.readUInt32LE(at + 88),
    persistence: String.fromCharCode(buffer[kindAt - 1]!),
    kind: String.fromCharCode(buffer[kindAt]!),
  };
}
