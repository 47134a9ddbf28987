/**
 * Shared memory that begins at a page of the processor, which a file opened with O_DIRECT needs: Linux moves the bytes
 * between it and the disk without a copy in its page cache. Node's own buffers begin 16 bytes after a page; the memory of
 * WebAssembly begins at one. https://webassembly.github.io/spec/js-api/#memories, https://man7.org/linux/man-pages/man2/open.2.html
 */

/** Addresses, offsets in the file and lengths are multiples of it: right for every disk up to 4 KiB a sector. */
export const directAlignment = 4096;
/** Bytes; less is not worth a second descriptor. */
export const leastDirect = 256 << 10;
const wasmPage = 64 << 10;

/** Buffer → its WebAssembly.Memory. */
const aligned = new WeakMap<ArrayBufferLike, object>();

interface Memories {
  readonly Memory: new (size: {
    initial: number;
    maximum: number;
    shared: true;
  }) => { readonly buffer: SharedArrayBuffer };
}

/** At least `bytes` long. Where WebAssembly is switched off or gets no memory, ordinary memory, which works as well, slower. */
export function alignedMemory(bytes: number): SharedArrayBuffer {
  const pages = Math.ceil(bytes / wasmPage);
  try {
    const { WebAssembly } = globalThis as unknown as { readonly WebAssembly: Memories };
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    aligned.set(memory.buffer, memory);
    return memory.buffer;
  } catch {
    return new SharedArrayBuffer(bytes);
  }
}

/** The WebAssembly.Memory that `alignedMemory` has made; undefined for ordinary memory. Other threads can be given it. */
export function wasmMemoryOf(buffer: ArrayBufferLike): object | undefined {
  return aligned.get(buffer);
}

/** Whether `bytes` begins where O_DIRECT wants it. */
export function isAligned(bytes: Uint8Array): boolean {
  return aligned.has(bytes.buffer) && bytes.byteOffset % directAlignment === 0;
}

/**
 * As `to.set(from, at)`. V8 copies to shared memory word by word, so that other threads never see half a word; between
 * threads that hand memory over by messages that is not needed, and the copy of Node is twice as fast.
 */
export function copyBytes(from: Uint8Array, to: Uint8Array, at: number): void {
  Buffer.prototype.copy.call(from, to, at);
}
