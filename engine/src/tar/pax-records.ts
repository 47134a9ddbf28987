/** Extended header records: `LENGTH KEY=VALUE\n`, the length in decimal and of the whole record. */
import { malformed } from './tar-header.ts';

/** `at`: offset in the archive, for messages. Throws PROTOCOL. */
export function parsePaxRecords(bytes: Buffer, at: number): Map<string, string> {
  const records = new Map<string, string>();
  let from = 0;
  while (from < bytes.length) {
    const space = bytes.indexOf(0x20, from);
    const length = space < 0 ? Number.NaN : Number(bytes.toString('latin1', from, space));
    const end = from + length;
    const equals = bytes.indexOf(0x3d, space);
    if (
      !Number.isSafeInteger(length) ||
      end > bytes.length ||
      equals < 0 ||
      equals >= end ||
      bytes[end - 1] !== 0x0a
    )
      throw malformed(at, 'an extended header that cannot be read');
    records.set(bytes.toString('utf8', space + 1, equals), bytes.toString('utf8', equals + 1, end - 1));
    from = end;
  }
  return records;
}
