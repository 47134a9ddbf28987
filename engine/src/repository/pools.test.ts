import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import fc from 'fast-check';
import { type MemoryRepository, memoryRepository } from '../../test/repository-fixture.ts';
import { HelvinoError } from '../base/errors.ts';
import type { StorageDriver } from '../storage/index.ts';
import { hasCode } from '../storage/testing/contract-tools.ts';
import { type CallFault, withFaults } from '../storage/testing/faulty-driver.ts';
import { newKey } from './crypto.ts';
import { type DecodeChunk, DecoderPool } from './decoder-pool.ts';
import { type EncodedSegment, EncoderPool } from './encoder-pool.ts';
import { contentHasherOf } from './keys.ts';
import { packName } from './layout.ts';
import { packCapacity } from './pack-builder.ts';
import { readPackContents } from './pack-reader.ts';

const mebibyte = 1 << 20;

/** One segment that goes in: its bytes, and what the parent backup had in its place. */
interface Segment {
  readonly kind: string;
  readonly bytes: Buffer;
  readonly old?: Uint8Array;
}

describe('encoder and decoder pools', { timeout: 120_000 }, () => {
  let memory: MemoryRepository;
  let folder = '';
  const dataKey = newKey();
  const dataKeyId = 'd'.repeat(16);

  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'hv-pools-'));
  });
  after(() => rmSync(folder, { recursive: true }));
  beforeEach(async () => {
    memory = await memoryRepository();
  });

  function encoder(driver: StorageDriver = memory.driver, workers = 2): EncoderPool {
    const { current, currentId } = memory.repository.ring;
    const pool = new EncoderPool({ driver, level: 1, workers });
    void pool.begin(Promise.resolve({ dataKey, dataKeyId, catalogKey: current, catalogKeyId: currentId }));
    return pool;
  }

  function decoder(workers = 2): DecoderPool {
    const { ring } = memory.repository;
    return new DecoderPool({ keys: new Map([[dataKeyId, dataKey]]), ring, workers });
  }

  /** Lays segments into slots as they fit and returns what became of each, in order. */
  async function encode(pool: EncoderPool, segments: readonly Segment[]): Promise<EncodedSegment[]> {
    const results: EncodedSegment[] = new Array(segments.length);
    for (let from = 0; from < segments.length; ) {
      await pool.congestion();
      const slot = pool.take();
      let [to, used] = [from, 0];
      while (to < segments.length && used + segments[to]!.bytes.length <= slot.bytes.length) {
        slot.bytes.set(segments[to]!.bytes, used);
        used += segments[to++]!.bytes.length;
      }
      const begin = from;
      const batch = segments.slice(from, to);
      pool.submit(
        slot,
        batch.map(({ bytes, old }) => ({ length: bytes.length, old })),
        (done) => {
          assert.equal(done.length, batch.length);
          for (const [i, result] of done.entries()) {
            assert.equal(results[begin + i], undefined, 'told once');
            results[begin + i] = result;
          }
        },
      );
      from = to;
    }
    await pool.finish();
    return results;
  }

  /** Has the chunks of all packs written to a file at the segments' places; returns what the file then holds. */
  async function decode(segments: readonly Segment[], results: readonly EncodedSegment[]): Promise<Buffer> {
    const path = join(folder, 'file');
    const wanted = new Map<string, DecodeChunk['pieces'][number][]>();
    let at = 0;
    for (const [i, { bytes }] of segments.entries()) {
      const { chunk, start } = results[i]!;
      const key = `${chunk?.pack} ${chunk?.index}`;
      if (chunk) wanted.set(key, [...(wanted.get(key) ?? []), { path, at, start, length: bytes.length }]);
      at += bytes.length;
    }
    writeFileSync(path, Buffer.alloc(at));
    const pool = decoder();
    try {
      const jobs = (await memory.names('packs/')).map(async (name) => {
        const pack = name.split('/')[2]!;
        const contents = await readPackContents(memory.driver, pack, memory.repository.ring);
        const buffer = await pool.buffer();
        await memory.driver.get(name, { offset: 0, length: contents.body }, buffer.bytes);
        const hashKeyId = memory.repository.ring.currentId;
        const chunks = contents.chunks.map((chunk, index) => {
          const pieces = wanted.get(`${pack} ${index}`) ?? [];
          return { ...chunk, pack, keyId: dataKeyId, index, at: chunk.offset, hashKeyId, pieces };
        });
        assert.deepEqual((await pool.decode(buffer, chunks)).problems, []);
      });
      await Promise.all(jobs);
    } finally {
      await pool.close();
    }
    return readFileSync(path);
  }

  test('random segments – each becomes what it is, and the packs hold exactly the new ones', async () => {
    const kinds = ['zero', 'random', 'text', 'same', 'changed', 'tiny'] as const;
    const plan = fc.array(
      fc.record({
        kind: fc.constantFrom(...kinds),
        length: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 300_000 })),
        seed: fc.integer(),
      }),
      { minLength: 1, maxLength: 60 },
    );
    await fc.assert(
      fc.asyncProperty(plan, async (items) => {
        memory = await memoryRepository();
        const hasher = contentHasherOf(memory.repository.ring.current);
        const segments = items.map(({ kind, length, seed }): Segment => {
          const bytes = kind === 'zero' ? Buffer.alloc(length) : contentOf(kind, length, seed);
          const old = kind === 'same' ? hasher.hash(bytes) : kind === 'changed' ? randomBytes(16) : undefined;
          return { kind, bytes, old };
        });
        const pool = encoder();
        try {
          const results = await encode(pool, segments);
          for (const [i, { kind, bytes }] of segments.entries()) {
            const expected = kind === 'zero' || kind === 'same' ? kind : 'new';
            assert.equal(results[i]!.kind, expected);
            assert.equal(results[i]!.chunk !== undefined, expected === 'new');
            if (kind !== 'zero') assert.deepEqual(Buffer.from(results[i]!.hash!), hasher.hash(bytes));
          }
          const stored = pool.stored.map(({ id }) => packName(id)).sort();
          assert.deepEqual(await memory.names('packs/'), stored);
          const expected = segments.map(({ bytes, kind }) =>
            kind === 'same' ? Buffer.alloc(bytes.length) : bytes,
          );
          assert.ok((await decode(segments, results)).equals(Buffer.concat(expected)));
        } finally {
          await pool.close();
        }
      }),
      { numRuns: 12 },
    );
  });

  test('40 MiB that do not compress – several packs, none over its size, all bytes come back', async () => {
    const segments = Array.from({ length: 40 }, () => ({ kind: 'random', bytes: randomBytes(mebibyte) }));
    const pool = encoder();
    try {
      const results = await encode(pool, segments);
      assert.ok(pool.stored.length >= 3);
      for (const { id, size } of pool.stored) {
        assert.equal((await memory.driver.head(packName(id)))?.size, size);
        assert.ok(size <= packCapacity + 100_000, `${size} bytes`);
      }
      assert.ok((await decode(segments, results)).equals(Buffer.concat(segments.map((s) => s.bytes))));
    } finally {
      await pool.close();
    }
  });

  test('nothing but zeroes and what was there – no pack', async () => {
    const bytes = randomBytes(5000);
    const old = contentHasherOf(memory.repository.ring.current).hash(bytes);
    const pool = encoder();
    const segments = [
      { kind: 'zero', bytes: Buffer.alloc(9000) },
      { kind: 'same', bytes, old },
    ];
    await encode(pool, segments);
    await pool.close();
    assert.deepEqual([pool.stored, await memory.names('packs/')], [[], []]);
  });

  const failures: readonly (readonly [string, CallFault, HelvinoError['code']])[] = [
    ['the disk is full', { on: 'put', nth: 1, error: 'STORAGE_FULL' }, 'STORAGE_FULL'],
    ['the last pack fails', { on: 'put', nth: 3, error: 'STORAGE_IO' }, 'STORAGE_IO'],
    ['what was stored reads back changed', { on: 'put', nth: 2, flipBit: 99_999 }, 'STORAGE_IO'],
    ['reading back fails', { on: 'get', nth: 1, error: 'STORAGE_UNAVAILABLE' }, 'STORAGE_UNAVAILABLE'],
  ];
  for (const [what, fault, code] of failures) {
    test(`${what} – the caller is told, and closing ends`, async () => {
      const pool = encoder(withFaults(memory.driver, { calls: [fault] }));
      const segments = Array.from({ length: 50 }, () => ({ kind: 'random', bytes: randomBytes(mebibyte) }));
      await assert.rejects(encode(pool, segments), hasCode(code));
      await assert.rejects(pool.finish(), hasCode(code), 'and is told again');
      assert.throws(() => pool.congestion(), hasCode(code));
      await pool.close();
    });
  }

  test('a callback fails – the caller is told', async () => {
    const pool = encoder();
    const slot = pool.take();
    pool.submit(slot, [{ length: 100 }], () => {
      throw new HelvinoError('PROTOCOL', 'on purpose');
    });
    await assert.rejects(pool.finish(), hasCode('PROTOCOL'));
    await pool.close();
  });

  test('a worker of the encoder dies – the caller is told', async () => {
    const pool = encoder();
    pool.submit(pool.take(), [null as never], () => assert.fail('it has no result'));
    await assert.rejects(pool.finish(), TypeError);
    await pool.close();
  });

  test('slots that follow each other – stay together in a pack, a few at a time', async () => {
    const pool = encoder(memory.driver, 2);
    const segments = Array.from({ length: 16 }, () => ({ kind: 'new', bytes: randomBytes(mebibyte) }));
    const results = await encode(pool, segments);
    await pool.close();
    const packs = results.map(({ chunk }) => chunk?.pack);
    const changes = packs.filter((pack, i) => i > 0 && pack !== packs[i - 1]).length;
    assert.ok(changes >= 1 && changes <= 8, packs.join(' '));
  });

  test('the store stands still – a bounded amount is taken, and goes on when it is back', async () => {
    const gate = Promise.withResolvers<void>();
    let waiting = 0;
    const put: StorageDriver['put'] = async (...args) => {
      waiting++;
      await gate.promise;
      return memory.driver.put(...args);
    };
    const pool = encoder({ ...withFaults(memory.driver, {}), put }, 1);
    const bytes = randomBytes(mebibyte);
    let [submitted, done] = [0, 0];
    const submit = async (count: number) => {
      for (; submitted < count; submitted++) {
        await pool.congestion();
        const slot = pool.take();
        slot.bytes.set(bytes);
        pool.submit(slot, [{ length: bytes.length }], () => done++);
      }
    };
    const all = submit(200);
    const before = process.memoryUsage().rss;
    for (let last = -1; last !== submitted; ) {
      last = submitted;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    // Three pack buffers of 17 slots, and the slots themselves.
    assert.ok(submitted < 3 * 17 + 24, `${submitted} slots were taken`);
    assert.ok(submitted > 24, `${submitted} slots were taken`);
    assert.ok(waiting <= 3, `${waiting} packs wait`);
    assert.ok(process.memoryUsage().rss - before < 300 * mebibyte);
    gate.resolve();
    await all;
    await pool.finish();
    await pool.close();
    assert.equal(done, 200);
  });

  test('more slots than were promised – refused as a bug of the caller', async () => {
    const pool = encoder();
    assert.equal(pool.congestion(), undefined);
    const slots = Array.from({ length: 24 }, () => pool.take());
    assert.throws(() => pool.take(), hasCode('INTERNAL'));
    assert.ok(pool.congestion() instanceof Promise);
    for (const slot of slots) pool.giveBack(slot);
    assert.equal(pool.congestion(), undefined);
    await pool.close();
  });

  test('a changed chunk – named as a problem, the others are written', async () => {
    const segments = Array.from({ length: 3 }, () => ({ kind: 'random', bytes: randomBytes(mebibyte) }));
    const pool = encoder(memory.driver, 1);
    const results = await encode(pool, segments);
    await pool.close();
    const [{ id } = { id: '' }] = pool.stored;
    const { ring } = memory.repository;
    const contents = await readPackContents(memory.driver, id, ring);
    const path = join(folder, 'changed');
    for (const withHash of [true, false]) {
      writeFileSync(path, Buffer.alloc(3 * mebibyte));
      const decoding = decoder();
      const buffer = await decoding.buffer();
      await memory.driver.get(packName(id), { offset: 0, length: contents.body }, buffer.bytes);
      buffer.bytes[contents.chunks[1]!.offset + 1000]! ^= 1;
      const chunks = contents.chunks.map((chunk, index) => {
        const place = results.findIndex((result) => result.chunk!.index === index);
        const piece = { path, at: place * mebibyte, start: 0, length: mebibyte };
        const hashKeyId = withHash ? ring.currentId : undefined;
        return { ...chunk, hashKeyId, pack: id, keyId: dataKeyId, index, at: chunk.offset, pieces: [piece] };
      });
      const { problems, written } = await decoding.decode(buffer, chunks);
      assert.deepEqual([problems.map((p) => [p.pack, p.index]), written], [[[id, 1]], 2 * mebibyte]);
      await decoding.close();
    }
  });

  test('the target cannot be written – TARGET_IO with the path, and the pool works on', async () => {
    const bytes = randomBytes(1000);
    const results = await encodeOne(bytes);
    const path = join(folder, 'missing', 'file');
    const pool = decoder(1);
    for (let i = 0; i < 4; i++) {
      const { buffer, chunk } = await loaded(pool, results);
      const pieces = [{ path, at: 0, start: 0, length: 1000 }];
      await assert.rejects(pool.decode(buffer, [{ ...chunk, pieces }]), (thrown: HelvinoError) => {
        return thrown.code === 'TARGET_IO' && thrown.message.includes(path);
      });
    }
    await pool.close();
  });

  test('a worker of the decoder dies – running and later work is told, nobody waits for ever', async () => {
    const results = await encodeOne(randomBytes(1000));
    const pool = decoder(1);
    const first = await loaded(pool, results);
    const second = await loaded(pool, results);
    const third = pool.buffer();
    const dies = pool.decode(first.buffer, [{ ...first.chunk, at: 2 * packCapacity, pieces: [] }]);
    const queued = pool.decode(second.buffer, [{ ...second.chunk, pieces: [] }]);
    await Promise.all([dies, queued, third].map((each) => assert.rejects(each, RangeError)));
    await assert.rejects(pool.buffer(), RangeError);
    await pool.close();
  });

  test('all buffers are in use – the next waits for one to be given back', async () => {
    const pool = decoder(2);
    const taken = [await pool.buffer(), await pool.buffer(), await pool.buffer()];
    assert.equal(new Set(taken.map(({ index }) => index)).size, 3);
    let got = false;
    const next = pool.buffer().then((buffer) => {
      got = true;
      return buffer;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(got, false);
    pool.giveBack(taken[1]!);
    assert.equal((await next).index, taken[1]!.index);
    await pool.close();
  });

  async function encodeOne(bytes: Buffer): Promise<EncodedSegment[]> {
    const pool = encoder(memory.driver, 1);
    const results = await encode(pool, [{ kind: 'random', bytes }]);
    await pool.close();
    return results;
  }

  async function loaded(pool: DecoderPool, [result]: readonly EncodedSegment[]) {
    const { chunk } = result!;
    const buffer = await pool.buffer();
    const { offset, stored, pack, keyId, index, raw } = chunk!;
    await memory.driver.get(packName(pack), { offset, length: stored }, buffer.bytes);
    return { buffer, chunk: { pack, keyId, index, raw, stored, at: 0 } };
  }
});

/** The same bytes for the same seed: text compresses, all else does not. */
function contentOf(kind: string, length: number, seed: number): Buffer {
  if (kind === 'text') return Buffer.alloc(length, `a line of text ${seed}\n`);
  const size = kind === 'tiny' ? Math.min(length, 20) : length;
  const bytes = createHash('shake256', { outputLength: size }).update(`${kind} ${seed}`).digest();
  bytes[0]! |= 1;
  return bytes;
}
