/** Cutting bytes into pieces, for tests of incremental parsers. */

/** `size` bytes each. */
export function* pieces(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Cuts of the lengths given, repeated as needed. */
export function* cuts(bytes: Uint8Array, lengths: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const length = Math.max(1, lengths[i % lengths.length] ?? 1);
    yield bytes.subarray(at, at + length);
    at += length;
  }
}
