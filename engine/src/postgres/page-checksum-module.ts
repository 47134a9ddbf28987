/**
 * The checksum of a data page in vector instructions, five times as fast as in JavaScript: a WebAssembly module of one
 * function, put together here, over memory that the pages are in already. What it computes is in page-checksum.ts.
 * https://webassembly.github.io/spec/core/binary/index.html, https://webassembly.github.io/spec/core/syntax/instructions.html
 */
import { laneOffsets } from './page-checksum.ts';

/** The checksum of the page of 8192 bytes at `address` in the memory. */
export type PageChecksum = (address: number, block: number) => number;

const pageSize = 8192;
const prime = 16777619;
const rowSize = 128;
const vectors = 8;

const op = {
  loop: [0x03, 0x40],
  branchIf: 0x0d,
  end: 0x0b,
  get: 0x20,
  set: 0x21,
  tee: 0x22,
  constant: 0x41,
  below: 0x49,
  add: 0x6a,
  remainder: 0x70,
  xor: 0x73,
  vectorLoad: [0xfd, 0x00],
  vectorConstant: [0xfd, 0x0c],
  vectorSplat: [0xfd, 0x11],
  vectorLane: [0xfd, 0x1b],
  vectorAnd: [0xfd, 0x4e],
  vectorXor: [0xfd, 0x51],
  vectorShift: [0xfd, 0xad, 0x01],
  vectorMultiply: [0xfd, 0xb5, 0x01],
} as const;

// Locals: the two parameters, the end of the page, eight vectors of four sums each, and one that is in work.
const [address, block, last, firstSum] = [0, 1, 2, 3];
const work = firstSum + vectors;
const [typeI32, typeV128] = [0x7f, 0x7b];

function unsigned(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 0x80) return [...bytes, rest];
    bytes.push((rest & 0x7f) | 0x80);
  }
}

function signed(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7) {
    if (rest >= -64 && rest < 64) return [...bytes, rest & 0x7f];
    bytes.push((rest & 0x7f) | 0x80);
  }
}

function vector(words: readonly number[]): number[] {
  return [...op.vectorConstant, ...new Uint8Array(Int32Array.from(words).buffer)];
}

const integer = (value: number) => [op.constant, ...signed(value)];
const sum = (index: number) => firstSum + index;

/** What is in work becomes the sum: multiplied, and mixed with its own upper bits. */
function mixInto(index: number): number[] {
  return [
    ...[op.get, work, ...integer(prime), ...op.vectorSplat, ...op.vectorMultiply],
    ...[op.get, work, ...integer(17), ...op.vectorShift, ...op.vectorXor],
    ...[op.set, sum(index)],
  ];
}

/** The 128 bytes at `address` into all sums. In the first row the page's own checksum counts as zero. */
function row(first: boolean): number[] {
  return Array.from({ length: vectors }, (_, index) => [
    ...[op.get, address, ...op.vectorLoad, 0, ...unsigned(index * 16)],
    ...(first && index === 0 ? [...vector([-1, -1, 0xffff0000, -1]), ...op.vectorAnd] : []),
    ...[op.get, sum(index), ...op.vectorXor, op.set, work],
    ...mixInto(index),
  ]).flat();
}

function body(): number[] {
  const all = Array.from({ length: vectors }, (_, index) => index);
  const next = [op.get, address, ...integer(rowSize), op.add];
  return [
    ...all.flatMap((i) => [...vector([...laneOffsets.subarray(i * 4, i * 4 + 4)]), op.set, sum(i)]),
    ...[op.get, address, ...integer(pageSize), op.add, op.set, last],
    ...[...row(true), ...next, op.set, address],
    ...[...op.loop, ...row(false), ...next, op.tee, address, op.get, last, op.below, op.branchIf, 0, op.end],
    // Two rounds of zeroes, so that the last words are mixed as well as the first.
    ...[...all, ...all].flatMap((i) => [op.get, sum(i), op.set, work, ...mixInto(i)]),
    ...all.flatMap((i) => [op.get, sum(i), ...(i === 0 ? [] : op.vectorXor)]),
    ...[op.set, work],
    ...[0, 1, 2, 3].flatMap((lane) => [
      op.get,
      work,
      ...op.vectorLane,
      lane,
      ...(lane === 0 ? [] : [op.xor]),
    ]),
    ...[op.get, block, op.xor, ...integer(65535), op.remainder, ...integer(1), op.add, op.end],
  ];
}

function sized(bytes: readonly number[]): number[] {
  return [...unsigned(bytes.length), ...bytes];
}

const text = (value: string) => sized([...Buffer.from(value)]);

function moduleBytes(): Uint8Array<ArrayBuffer> {
  const code = [2, 1, typeI32, vectors + 1, typeV128, ...body()];
  const sections = [
    [1, [1, 0x60, 2, typeI32, typeI32, 1, typeI32]],
    // A memory that threads share, of at least one and at most all pages.
    [2, [1, ...text('e'), ...text('m'), 2, 3, 1, ...unsigned(65536)]],
    [3, [1, 0]],
    [7, [1, ...text('f'), 0, 0]],
    [10, [1, ...sized(code)]],
  ] as const;
  const header = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
  return Uint8Array.from([...header, ...sections.flatMap(([id, content]) => [id, ...sized(content)])]);
}

/** Node has WebAssembly; its types are the browser's, which are not loaded here. */
interface WebAssemblyOfNode {
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  readonly Instance: new (
    module: object,
    imports: { e: { m: unknown } },
  ) => { readonly exports: { readonly f: PageChecksum } };
}

/** `memory`: a shared WebAssembly.Memory. Undefined where there is no WebAssembly, or none with vectors. */
export function pageChecksumIn(memory: unknown): PageChecksum | undefined {
  try {
    const { WebAssembly } = globalThis as unknown as { readonly WebAssembly: WebAssemblyOfNode };
    const module = new WebAssembly.Module(moduleBytes());
    return new WebAssembly.Instance(module, { e: { m: memory } }).exports.f;
  } catch {
    return undefined;
  }
}
