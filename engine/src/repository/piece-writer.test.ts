import assert from 'node:assert/strict';
import { randomFillSync } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { alignedMemory } from '../base/aligned-memory.ts';
import { PieceWriter } from './piece-writer.ts';

const block = 4096;
const random = randomFillSync(Buffer.alloc(3 << 20));

async function folder(t: TestContext, above: string): Promise<string> {
  const path = await mkdtemp(join(above, 'hv-pieces-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** Cuts a file into pieces, writes them in the given order, and reads it. */
async function written(path: string, bytes: Buffer, cuts: readonly number[]): Promise<PieceWriter> {
  await writeFile(path, Buffer.alloc(bytes.length));
  const edges = [...new Set([0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])];
  edges.sort((a, b) => a - b);
  const pieces = edges.slice(1).map((end, i) => ({ at: edges[i]!, end }));
  const writer = new PieceWriter();
  for (const { at, end } of [...pieces.filter((_, i) => i % 2), ...pieces.filter((_, i) => i % 2 === 0)]) {
    const piece = { path, at, start: 0, length: end - at };
    assert.equal(writer.place(piece, bytes.subarray(at, end), false), end - at);
  }
  return writer;
}

for (const [where, above] of [
  ['the disk', tmpdir()],
  ['memory', '/dev/shm'],
] as const)
  test(`pieces of every place and length, in ${where} – are in the file as they were given`, async (t) => {
    const path = join(await folder(t, above), 'file');
    // Cuts at blocks, beside them, and anywhere.
    const cut = fc.oneof(
      fc.integer({ min: 0, max: random.length / block }).map((at) => at * block),
      fc.integer({ min: 0, max: random.length / block }).map((at) => at * block + 1),
      fc.nat(random.length),
    );
    const property = fc.asyncProperty(
      fc.array(cut, { maxLength: 6 }),
      fc.nat(random.length),
      async (cuts, length) => {
        const bytes = random.subarray(0, length);
        const writer = await written(path, bytes, cuts);
        writer.close();
        assert.equal(Buffer.compare(await readFile(path), bytes), 0);
      },
    );
    await fc.assert(property, { numRuns: 60 });
  });

test('neighbours of several files – are in the files once they are flushed, and only then', async (t) => {
  const above = await folder(t, tmpdir());
  const bytes = new Uint8Array(alignedMemory(random.length));
  bytes.set(random);
  const paths = ['a', 'b', 'c'].map((name) => join(above, name));
  const blocks = fc.array(fc.record({ file: fc.nat(2), blocks: fc.integer({ min: 0, max: 90 }) }), {
    maxLength: 8,
  });
  const property = fc.asyncProperty(blocks, fc.nat(block), async (parts, ragged) => {
    const wanted = paths.map(() => [] as Uint8Array[]);
    for (const path of paths) await writeFile(path, '');
    const writer = new PieceWriter();
    let from = 0;
    const place = (file: number, length: number) => {
      const at = wanted[file]!.reduce((sum, part) => sum + part.length, 0);
      const part = bytes.subarray(from, from + length);
      wanted[file]!.push(part);
      const piece = { path: paths[file]!, at, start: from, length };
      assert.equal(writer.place(piece, part, false), length);
      from += length;
    };
    for (const part of parts) place(part.file, part.blocks * block);
    for (const file of paths.keys()) place(file, ragged);
    writer.flush();
    writer.close();
    for (const [file, path] of paths.entries())
      assert.equal(Buffer.compare(await readFile(path), Buffer.concat(wanted[file]!)), 0);
  });
  await fc.assert(property, { numRuns: 60 });
});

test('more files than are kept open – each has its bytes', async (t) => {
  const above = await folder(t, tmpdir());
  const bytes = new Uint8Array(alignedMemory(random.length));
  bytes.set(random);
  const writer = new PieceWriter();
  const paths = Array.from({ length: 150 }, (_, i) => join(above, String(i % 75)));
  for (const path of paths.slice(0, 75)) await writeFile(path, '');
  for (const [i, path] of paths.entries()) {
    const part = bytes.subarray(i * 2 * block, (i + 1) * 2 * block);
    writer.place({ path, at: i < 75 ? 0 : 2 * block, start: 0, length: part.length }, part, false);
  }
  writer.flush();
  writer.close();
  for (const [i, path] of paths.slice(0, 75).entries()) {
    const [one, two] = [i, i + 75].map((n) => random.subarray(n * 2 * block, (n + 1) * 2 * block));
    assert.equal(Buffer.compare(await readFile(path), Buffer.concat([one!, two!])), 0);
  }
});

test('neighbours – are one write, which nobody sees before the flush', async (t) => {
  const path = join(await folder(t, process.cwd()), 'file');
  await writeFile(path, '');
  const bytes = new Uint8Array(alignedMemory(1 << 20));
  const writer = new PieceWriter();
  for (let at = 0; at < bytes.length; at += 64 << 10)
    writer.place({ path, at, start: at, length: 64 << 10 }, bytes.subarray(at, at + (64 << 10)), false);
  assert.equal((await stat(path)).size, 0);
  writer.flush();
  assert.equal((await stat(path)).size, 1 << 20);
  if (writer.cached === bytes.length) t.skip('the file system knows no O_DIRECT');
  else assert.equal(writer.cached, 0);
  writer.close();
});

test('a disk that is full – flush says so, and which file', { skip: process.platform !== 'linux' }, () => {
  const writer = new PieceWriter();
  const bytes = new Uint8Array(alignedMemory(1 << 20));
  writer.place({ path: '/dev/full', at: 0, start: 0, length: bytes.length }, bytes, false);
  assert.throws(() => writer.flush(), { code: 'ENOSPC' });
  assert.equal(writer.path, '/dev/full');
  writer.close();
});

test('large pieces – go past the page cache, their ends and small ones through it', async (t) => {
  const path = join(await folder(t, process.cwd()), 'file');
  const writer = await written(path, random.subarray(0, (1 << 20) + 5), [1 << 20]);
  if (writer.cached > 1 << 20) return t.skip('the file system knows no O_DIRECT');
  assert.equal(writer.cached, 5);
  writer.close();
  const ragged = await written(path, random.subarray(0, (1 << 20) + 100), []);
  assert.equal(ragged.cached, 100);
  ragged.close();
});

test('a piece that is there already – is not written, one that differs is', async (t) => {
  const path = join(await folder(t, tmpdir()), 'file');
  const bytes = random.subarray(0, 1 << 20);
  (await written(path, bytes, [])).close();
  const writer = new PieceWriter();
  const piece = { path, at: 0, start: 0, length: bytes.length };
  assert.equal(writer.place(piece, bytes, true), 0);
  const other = random.subarray(1 << 20, 2 << 20);
  assert.equal(writer.place(piece, other, true), bytes.length);
  writer.close();
  assert.equal(Buffer.compare(await readFile(path), other), 0);
});

test('a file that is not there – is an error that names it', () => {
  const piece = { path: '/nowhere/file', at: 0, start: 0, length: 1 << 20 };
  assert.throws(() => new PieceWriter().place(piece, random.subarray(0, 1 << 20), false), /\/nowhere\/file/);
});
