/**
 * A new row of pg_class out of an INSERT record: from the record's data, or from the page image that stands in its place.
 * Rows are laid out as in src/include/catalog/pg_class.h; every column up to relkind has a fixed width and is never null.
 */
import type { ClassRow } from './catalog-changes.ts';
import type { BlockReference } from './record-layout.ts';

const pageSize = 8192;
/** xl_heap_header: two infomasks and t_hoff. */
const heapHeader = 5;
/** Of the tuple header that is not in the record (SizeofHeapTupleHeader). */
const tupleHeader = 23;
const pageHeader = 24;

/** `item`: 1 for the first of the page. Undefined when neither data nor a plain image is there. */
export function readClassRow(
  buffer: Buffer,
  block: BlockReference,
  { item, major }: { item: number; major: number },
): ClassRow | undefined {
  const begin = block.dataLength > 0 ? fromData(buffer, block) : fromImage(buffer, block, item);
  return begin === undefined ? undefined : readRow(buffer, begin, major);
}

/** Where the columns begin. */
function fromData(buffer: Buffer, { dataOffset }: BlockReference): number {
  const columns = buffer[dataOffset + 4]!;
  return dataOffset + heapHeader + columns - tupleHeader;
}

function fromImage(buffer: Buffer, block: BlockReference, item: number): number | undefined {
  if (block.imageLength === 0 || block.compressed) return undefined;
  const pointer = pageHeader + 4 * (item - 1);
  if (item < 1 || pointer + 4 > block.holeOffset) return undefined;
  const line = buffer.readUInt32LE(block.imageOffset + pointer);
  const onPage = line & 0x7fff;
  const inImage = onPage >= block.holeOffset ? onPage - block.holeLength : onPage;
  if (onPage > pageSize - tupleHeader || inImage + tupleHeader > block.imageLength) return undefined;
  const tuple = block.imageOffset + inImage;
  return tuple + buffer[tuple + tupleHeader - 1]!;
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
