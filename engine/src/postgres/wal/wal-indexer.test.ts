import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatLsn } from '../lsn.ts';
import { crc32c } from './crc32c.ts';
import { decodeLogIndex, encodeLogIndex } from './log-index.ts';
import { WalIndexer } from './wal-indexer.ts';

const segmentSize = 1 << 20;
const start = BigInt(segmentSize) * 3n;

interface Random {
  readonly xid: number;
  readonly info: number;
  readonly resourceManager: number;
  readonly body: Uint8Array;
}

/** A record with a right CRC. */
function recordBytes({ xid, info, resourceManager, body }: Random): Buffer {
  const record = Buffer.alloc(24 + body.length);
  record.writeUInt32LE(record.length, 0);
  record.writeUInt32LE(xid, 4);
  record[16] = info;
  record[17] = resourceManager;
  record.set(body, 24);
  record.writeUInt32LE(crc32c(Buffer.concat([record.subarray(24), record.subarray(0, 20)])), 20);
  return record;
}

/** Pages of one segment, records laid over page ends as a server does. */
function segmentOf(records: readonly Buffer[], magic: number): Buffer {
  const segment = Buffer.alloc(segmentSize);
  let at = 0;
  const header = (left: number) => {
    const long = at === 0;
    segment.writeUInt16LE(magic, at);
    segment.writeUInt16LE((long ? 2 : 0) | (left > 0 ? 1 : 0), at + 2);
    segment.writeUInt32LE(1, at + 4);
    segment.writeBigUInt64LE(start + BigInt(at), at + 8);
    segment.writeUInt32LE(left, at + 16);
    at += long ? 40 : 24;
  };
  for (const record of records) {
    at = (at + 7) & ~7;
    for (let done = 0; done < record.length; ) {
      if (at % 8192 === 0) header(done === 0 ? 0 : record.length - done);
      const count = Math.min(record.length - done, 8192 - (at % 8192));
      record.copy(segment, at, done, done + count);
      at += count;
      done += count;
    }
  }
  return segment;
}

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
  const commit = recordBytes({
    xid: 7,
    info: 0,
    resourceManager: 1,
    body: Buffer.concat([Buffer.from([255, 8]), Buffer.alloc(8)]),
  });
  const good = segmentOf([insert, insert, commit], 0xd118);
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
  const commit = (xid: number) =>
    recordBytes({
      xid,
      info: 0,
      resourceManager: 1,
      body: Buffer.concat([Buffer.from([255, 8]), Buffer.alloc(8)]),
    });
  const far = 1000 + 2 ** 31;
  const bytes = segmentOf(
    [running(1000, 990), commit(995), running(1010, 1005), commit(1006), commit(far + 10)],
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
