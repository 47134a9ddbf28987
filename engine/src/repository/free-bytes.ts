/**
 * Gives the memory of a large temporary result back at once. The garbage collector sees a 1 MiB buffer as a few bytes of
 * work and frees it late: a hundred and more of them would wait, and each new one would be fresh pages from the system.
 */

/** Smaller buffers may share memory with others. */
const smallest = 128 << 10;

/** Only for bytes that nobody else holds: they are gone afterwards. Views of larger or shared memory are left alone. */
export function freeBytes(bytes: Uint8Array | Uint32Array): void {
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer && bytes.byteOffset === 0 && buffer.byteLength >= smallest)
    buffer.transfer(0);
}
