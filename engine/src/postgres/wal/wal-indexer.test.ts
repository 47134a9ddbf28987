import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { commitBytes, recordBytes, walOf } from '../../../test/wal-bytes.ts';
import { formatLsn } from '../lsn.ts';
import { decodeLogIndex, encodeLogIndex, type IndexState } from './log-index.ts';
import { WalIndexer } from './wal-indexer.ts';

const segmentSize = 1 << 20;
const start = BigInt(segmentSize) * 3n;

const segmentOf = (records: readonly Buffer[], magic: number) =>
  walOf(records, { start, segmentSize, magic });

const random = fc.record({
  xid: fc.integer({ min: 0, max: 20 }),
  info: fc.nat(255),
  resourceManager: fc.constantFrom(0, 1, 2, 4, 7, 8, 9, 10, 10, 10, 22),
  body: fc.oneof(
    fc.uint8Array({ maxLength: 120 }),
    // One block reference to a user's file, then main data.
    fc
      .uint8Array({ minLength: 0, maxLength: 40 })
      .map((main) =>
        Buffer.concat([
          Buffer.from([0, 0, 0, 0]),
          Buffer.from(Uint32Array.of(1663, 5, 20_000, 1).buffer),
          Buffer.from([255, main.length]),
          main,
        ]),
      ),
  ),
});

test('any records with a right CRC – an index or a note of damage, never a throw; what is stored is read back', () => {
  fc.assert(
    fc.property(
      fc.array(random, { maxLength: 60 }),
      fc.constantFrom(0xd10d, 0xd110, 0xd113, 0xd116, 0xd118),
      fc.integer({ min: 1, max: 20_000 }),
      (records, magic, piece) => {
        const bytes = segmentOf(records.map(recordBytes), magic);
        const indexer = new WalIndexer({ start, segmentSize });
        for (let at = 0; at < 65_536; at += piece)
          indexer.push(bytes.subarray(at, Math.min(at + piece, 65_536)));
        const part = indexer.take();
        const again = decodeLogIndex(encodeLogIndex(part), 'here');
        assert.deepEqual(again, structuredClone(part));
        const next = new WalIndexer({ start, segmentSize, state: again.state });
        next.push(bytes);
      },
    ),
  );
});

test('a flipped bit – noted with its position; the next segment is read again', () => {
  const insert = recordBytes({
    xid: 7,
    info: 0,
    resourceManager: 10,
    body: Buffer.concat([
      Buffer.from([0, 0, 0, 0]),
      Buffer.from(Uint32Array.of(1663, 5, 20_000, 1).buffer),
      Buffer.from([255, 3, 1, 0, 0]),
    ]),
  });
  const good = segmentOf([insert, insert, commitBytes(7)], 0xd118);
  const whole = new WalIndexer({ start, segmentSize });
  whole.push(good);
  assert.equal(whole.take().transactions[0]?.changes[0]?.inserted, 2);
  const bad = Buffer.from(good);
  bad[40 + 30] = bad[40 + 30]! ^ 1;
  const indexer = new WalIndexer({ start, segmentSize });
  indexer.push(bad);
  const part = indexer.take();
  assert.deepEqual(part.transactions, []);
  assert.equal(part.damaged[0]?.lsn, '0/300028');
  const second = Buffer.from(good);
  second.writeBigUInt64LE(start + BigInt(segmentSize), 8);
  indexer.push(second);
  assert.equal(indexer.take().transactions.length, 1);
});

const insertBody = Buffer.concat([
  Buffer.from([0, 0, 0, 0]),
  Buffer.from(Uint32Array.of(1663, 5, 20_000, 1).buffer),
  Buffer.from([255, 3, 1, 0, 0]),
]);

/** What PostgreSQL's recovery takes for the end of WAL, without a word; WAL that a server sent has none of it inside. */
const looksLikeTheEnd: Readonly<Record<string, (page: Buffer, second: Buffer) => void>> = {
  'a page that was never written': (_, second) => second.fill(0),
  'a page of another time': (_, second) => second.writeBigUInt64LE(start + 99n * 8192n, 8),
  'a record without a length': (page) => page.writeUInt32LE(0, 40),
  'less of a record follows than it has': (_, second) => second.writeUInt32LE(8, 16),
  'a page that does not go on with the record': (_, second) => second.writeUInt16LE(0, 2),
};

for (const [what, damage] of Object.entries(looksLikeTheEnd))
  test(`${what} – is damage, with the last good record before it; the next segment is read`, () => {
    const insert = recordBytes({ xid: 7, info: 0, resourceManager: 10, body: insertBody });
    const long = recordBytes({ xid: 7, info: 0, resourceManager: 22, body: Buffer.alloc(20_000, 1) });
    const good = segmentOf([insert, long, ...Array.from({ length: 2000 }, () => insert)], 0xd118);
    const bad = Buffer.from(good);
    damage(bad.subarray(0, 8192), bad.subarray(8192, 2 * 8192));
    const indexer = new WalIndexer({ start, segmentSize });
    for (let at = 0; at < bad.length; at += 5000) indexer.push(bad.subarray(at, at + 5000));
    const second = Buffer.from(good);
    for (let page = 0; page < segmentSize; page += 8192)
      second.writeBigUInt64LE(start + BigInt(segmentSize + page), page + 8);
    indexer.push(second.subarray(0, 5 * 8192));
    const { damaged, end } = indexer.take();
    const lastGood =
      what === 'a record without a length' ? start : start + 40n + BigInt((insert.length + 7) & ~7);
    assert.deepEqual(
      damaged.map(({ lost }) => lost),
      [{ from: formatLsn(lastGood), to: formatLsn(start + BigInt(segmentSize)) }],
      JSON.stringify(damaged),
    );
    assert.ok(end > start + BigInt(segmentSize), 'the next segment was not read');
  });

test('a record that was never finished, and one from before the start – the server went on behind it: no damage', () => {
  const insert = recordBytes({ xid: 7, info: 0, resourceManager: 10, body: insertBody });
  const long = recordBytes({ xid: 7, info: 0, resourceManager: 22, body: Buffer.alloc(20_000, 1) });
  const whole = segmentOf([insert, long, insert], 0xd118);
  const after = segmentOf([insert, insert], 0xd118);
  /** The server crashed after the first page and wrote its next record into the second. */
  const crashed = Buffer.concat([whole.subarray(0, 8192), after.subarray(0, 8192)]);
  crashed.writeUInt16LE(0x8, 8192 + 2);
  crashed.writeBigUInt64LE(start + 8192n, 8192 + 8);
  // A short header here: the records move up.
  crashed.copy(crashed, 8192 + 24, 8192 + 40);
  const records = (2 * ((insert.length + 7) & ~7)) | 0;
  const indexer = new WalIndexer({ start, segmentSize });
  indexer.push(crashed.subarray(0, 8192 + 24 + records));
  const part = indexer.take();
  assert.deepEqual(part.damaged, []);
  assert.equal(part.end, start + 8192n + 24n + BigInt(records));

  // The same, of a record that began before what is read.
  const late = Buffer.from(crashed);
  late.writeUInt16LE(0x3, 2);
  late.writeUInt32LE(20_000, 16);
  const second = new WalIndexer({ start, segmentSize });
  second.push(late.subarray(0, 8192 + 24 + records));
  assert.deepEqual(second.take().damaged, []);
  assert.equal(second.take().end, start + 8192n + 24n + BigInt(records));
});

test('a new reader goes on within a record – its CRC is checked over both parts, of which no content is kept', () => {
  const insert = recordBytes({ xid: 7, info: 0, resourceManager: 10, body: insertBody });
  const secret = Buffer.alloc(2_500_000, 'secret ');
  for (const fill of [900_000, 1_048_000, 1_048_420, 1_048_440]) {
    // The long record begins near the end of the first segment and goes on over two more.
    const first = recordBytes({ xid: 7, info: 0, resourceManager: 22, body: Buffer.alloc(fill - 8192, 1) });
    const long = recordBytes({ xid: 7, info: 0, resourceManager: 22, body: secret });
    const wal = walOf([first, long, insert, insert], { start, segmentSize, magic: 0xd118, segments: 4 });
    const flips: (number | undefined)[] = [undefined, fill + 24 * 128 + 4000, 2 * segmentSize + 5000];
    for (const at of flips) {
      const bytes = Buffer.from(wal);
      if (at !== undefined) bytes[at] = bytes[at]! ^ 1;
      const damaged: (string | undefined)[] = [];
      let state: IndexState | undefined;
      let end = 0n;
      for (let segment = 0; segment < 4; segment++) {
        const begin = start + BigInt(segment * segmentSize);
        const indexer = new WalIndexer({ start: begin, segmentSize, ...(state ? { state } : {}) });
        const last =
          segment === 3 ? wal.indexOf(insert, 3 * segmentSize) + insert.length : segmentSize * (segment + 1);
        indexer.push(bytes.subarray(segment * segmentSize, last));
        const encoded = encodeLogIndex(indexer.take());
        assert.doesNotMatch(encoded.toString(), /secret|c2VjcmV0|736563726574/);
        const part = decodeLogIndex(encoded, 'a part');
        damaged.push(...part.damaged.map(({ lost }) => lost?.from));
        ({ state, end } = part);
      }
      if (at === undefined) {
        assert.deepEqual(damaged, [], `${fill}`);
        assert.ok(end > start + 3n * BigInt(segmentSize));
      } else assert.ok(damaged.length > 0, `a flip at ${at} with ${fill}`);
    }
  }
});

test('transactions two thousand million numbers after the first WAL – still known to be whole', () => {
  const running = (next: number, oldest: number) =>
    recordBytes({
      xid: 0,
      info: 0x10,
      resourceManager: 8,
      body: Buffer.concat([
        Buffer.from([255, 24]),
        Buffer.from(Uint32Array.of(0, 0, 0, next, oldest, oldest - 1).buffer),
      ]),
    });
  const far = 1000 + 2 ** 31;
  const bytes = segmentOf(
    [running(1000, 990), commitBytes(995), running(1010, 1005), commitBytes(1006), commitBytes(far + 10)],
    0xd118,
  );
  const indexer = new WalIndexer({ start, segmentSize });
  indexer.push(bytes);
  const found = indexer.take().transactions.map(({ xid, partial }) => [xid, partial]);
  assert.deepEqual(found, [
    [995, true],
    [1006, false],
    [far + 10, false],
  ]);
});
