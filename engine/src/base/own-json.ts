/**
 * JSON that Helvino wrote, read back from a place where others may have changed it. Only what JSON.stringify would have written
 * is taken: so no key is there twice, no byte is no UTF-8, and two readers cannot understand two things.
 */
const maxDepth = 32;
const maxValues = 4_000_000;

/** `indent`: as JSON.stringify was told. Throws an Error that says what is wrong. */
export function parseOwnJson(bytes: Uint8Array, indent = 0): unknown {
  measure(bytes);
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  const value: unknown = JSON.parse(text);
  if (JSON.stringify(value, null, indent) !== text) throw new Error('it was not written by Helvino');
  return value;
}

/** Before anything is made of it: 64 MiB of brackets would fill the heap. */
function measure(bytes: Uint8Array): void {
  let depth = 0;
  let values = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if (byte === quote) at = endOfString(bytes, at);
    else if (opening.has(byte)) depth++;
    else if (closing.has(byte)) depth--;
    else if (byte !== comma) continue;
    values++;
    if (depth > maxDepth || values > maxValues) throw new Error('it is nested too deep, or too long');
  }
}

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const opening = new Set([0x5b, 0x7b]);
const closing = new Set([0x5d, 0x7d]);

function endOfString(bytes: Uint8Array, begin: number): number {
  for (let at = begin + 1; at < bytes.length; at++) {
    if (bytes[at] === backslash) at++;
    else if (bytes[at] === quote) return at;
  }
  return bytes.length;
}
