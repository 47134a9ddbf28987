/** What the head of a zstd frame says (RFC 8878, 3.1.1.1). */
const frameMagic = 0xfd2fb528;
const dictionaryIdLengths = [0, 1, 2, 4];

/** How many bytes it decompresses to, as it says itself; undefined when it says nothing or is no frame. */
export function plainLengthOf(frame: Uint8Array): number | undefined {
  const head = Buffer.alloc(18);
  head.set(frame.subarray(0, head.length));
  if (head.readUInt32LE(0) !== frameMagic) return undefined;
  const flags = head[4]!;
  const oneSegment = (flags & 0x20) !== 0;
  const at = 5 + (oneSegment ? 0 : 1) + dictionaryIdLengths[flags & 3]!;
  switch (flags >> 6) {
    case 0:
      return oneSegment ? head[at] : undefined;
    case 1:
      return head.readUInt16LE(at) + 256;
    case 2:
      return head.readUInt32LE(at);
    default:
      return Number(head.readBigUInt64LE(at));
  }
}
