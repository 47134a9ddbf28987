/**
 * zstd, again and again, into memory that is there already. The functions of `node:zlib` take new memory for each result and
 * a new context for each call; where new memory is dear (a virtual machine whose host has to find each page) that costs
 * several times what the compression does. So this uses what lies beneath them: the binding's `writeSync`, which Node.js does
 * not document. Where it is not as expected, zlib's own functions do the same, slower (docs/adr/0007-zstd-into-own-memory.md).
 */
import {
  constants,
  createZstdCompress,
  createZstdDecompress,
  zstdCompressSync,
  zstdDecompressSync,
} from 'node:zlib';

/** What a stream of zlib holds inside. */
interface Stream {
  readonly _handle?: Binding;
  /** After a call: bytes left of the output, bytes left of the input. */
  readonly _writeState?: Uint32Array;
}

interface Binding {
  onerror: (message: string, errno: number, code: string) => void;
  /** Begins anew with these parameters: a number for each, by its own number; all ones: not given. */
  init?: (
    params: Uint32Array,
    length: number | undefined,
    state: Uint32Array,
    callback: () => void,
    dictionary: Uint8Array | undefined,
  ) => void;
  writeSync?: (
    flush: number,
    input: Uint8Array,
    inputAt: number,
    inputLength: number,
    output: Uint8Array,
    outputAt: number,
    outputLength: number,
  ) => void;
}

type Params = Readonly<Record<number, number>>;

/** ZSTD_c_literalCompressionMode, and its value ZSTD_ps_enable (zstd.h, experimental): zlib of Node.js does not offer it. */
const literalCompressionMode = 1002;
const huffman = 1;

/** Of the levels that look for matches at fewer places: how far they step (ZSTD_c_targetLength), the Huffman coding of level 1 kept. */
const steps: Readonly<Record<number, number>> = { [-1]: 2, [-2]: 6, [-3]: 12 };

/** How the levels of Helvino are set. */
export function zstdParams(level: number): Params {
  const step = steps[level];
  const params: Record<number, number> = { [constants.ZSTD_c_compressionLevel]: step ? 1 : level };
  // Tables that stay in the processor's first cache: level 1 a sixth faster, a fortieth larger; below a fifth and a twelfth.
  if (level <= 1) {
    params[constants.ZSTD_c_hashLog] = level === 1 ? 13 : 12;
    params[constants.ZSTD_c_windowLog] = level === 1 || level === -1 ? 17 : 16;
    // Matches that are worth finding are long in tables and indexes: a quarter faster, a twentieth larger.
    if (level < 1) params[constants.ZSTD_c_minMatch] = 7;
    if (step) params[constants.ZSTD_c_targetLength] = step;
  }
  return params;
}

/** One output buffer of it takes any result: growing it in steps costs a tenth of the time. */
export function longestCompressed(length: number): number {
  return length + (length >> 8) + 1024;
}

/** One frame for each call. Not for several callers at a time: a result is valid until the next call. */
export class Compressor {
  readonly #params: Params;
  readonly #work: Work | undefined;
  #output = Buffer.alloc(0);

  constructor(level: number) {
    this.#params = zstdParams(level);
    this.#work = workOf((steps[level] && withHuffman(this.#params)) || compressStream(this.#params));
  }

  /** Whether results come into its own memory. */
  get direct(): boolean {
    return this.#work !== undefined;
  }

  /** The same frame as `zstdCompressSync` makes, but at levels -1 to -3 a smaller one; a view that is valid until the next call. */
  compress(plain: Uint8Array): Buffer {
    const most = longestCompressed(plain.length);
    if (this.#work === undefined) return zstdCompressSync(plain, { chunkSize: most, params: this.#params });
    if (this.#output.length < most) this.#output = Buffer.allocUnsafeSlow(most);
    return this.#output.subarray(0, this.#work(constants.ZSTD_e_end, plain, this.#output));
  }
}

/** The reverse. After an error it begins anew. */
export class Decompressor {
  #work: Work | undefined;

  constructor() {
    this.#begin();
  }

  get direct(): boolean {
    return this.#work !== undefined;
  }

  /**
   * One frame of `length` plain bytes, to the beginning of `into`, which has room for at least one more. Throws when the bytes are
   * not one whole frame of just that.
   */
  decompress(frame: Uint8Array, into: Uint8Array, length: number): void {
    if (this.#work === undefined) {
      const plain = zstdDecompressSync(frame, { maxOutputLength: into.length });
      into.set(plain);
      checkLength(plain.length, length);
      return;
    }
    try {
      this.#once(frame, into, length);
    } catch {
      // The frame before may have had no end, and this one was taken for it.
      this.#once(frame, into, length);
    }
  }

  #once(frame: Uint8Array, into: Uint8Array, length: number): void {
    try {
      checkLength(this.#work!(constants.ZSTD_e_continue, frame, into), length);
    } catch (thrown) {
      this.#begin();
      throw thrown;
    }
  }

  #begin(): void {
    this.#work = workOf(createZstdDecompress() as unknown as Stream);
  }
}

function checkLength(got: number, length: number): void {
  if (got !== length) throw new Error(`it holds ${got} bytes, not ${length}`);
}

function compressStream(params: Params): Stream {
  return createZstdCompress({ params }) as unknown as Stream;
}

/**
 * With longer steps zstd leaves the bytes between matches as they are: faster, and a fourth larger. Undefined where it cannot be
 * told otherwise.
 */
function withHuffman(params: Params): Stream | undefined {
  const stream = compressStream(params);
  const { _handle: binding, _writeState: state } = stream;
  if (typeof binding?.init !== 'function' || !(state instanceof Uint32Array)) return undefined;
  const all = new Uint32Array(literalCompressionMode + 1).fill(0xffffffff);
  for (const [number, value] of Object.entries(params)) all[Number(number)] = value;
  all[literalCompressionMode] = huffman;
  let refused = false;
  binding.onerror = () => {
    refused = true;
  };
  try {
    binding.init(all, undefined, state, () => undefined, undefined);
  } catch {
    return undefined;
  }
  return refused ? undefined : stream;
}

/** Returns how many bytes of `output` were filled; throws when the input did not end or the output has no room left. */
type Work = (flush: number, input: Uint8Array, output: Uint8Array) => number;

function workOf(stream: Stream): Work | undefined {
  const { _handle: binding, _writeState: state } = stream;
  if (typeof binding?.writeSync !== 'function' || !(state instanceof Uint32Array) || state.length < 2)
    return undefined;
  let failure: string | undefined;
  binding.onerror = (message) => {
    failure = message;
  };
  return (flush, input, output) => {
    failure = undefined;
    // Not written after an error: what the call before left would look like success.
    state.fill(0xffffffff);
    binding.writeSync!(flush, input, 0, input.length, output, 0, output.length);
    const [outputLeft, inputLeft] = state as unknown as readonly [number, number];
    if (failure === undefined && inputLeft > 0) failure = `${inputLeft} bytes of input are left`;
    if (failure === undefined && outputLeft === 0) failure = `more than ${output.length} bytes`;
    if (failure !== undefined) throw new Error(failure);
    return output.length - outputLeft;
  };
}
