import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cuts, pieces } from '../../../test/splits.ts';
import { HelvinoError } from '../../base/errors.ts';
import { BackendReader } from './backend-messages.ts';

interface Sent {
  readonly type: string;
  readonly body: Buffer;
}

function encode({ type, body }: Sent): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, 0, 'latin1');
  head.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

function read(parts: Iterable<Uint8Array>): Sent[] {
  const result: Sent[] = [];
  let open: { length: number; parts: Buffer[] } | undefined;
  const reader = new BackendReader({
    message: (type, body) => {
      assert.equal(open, undefined);
      result.push({ type: String.fromCharCode(type), body: Buffer.from(body) });
    },
    copyStart: (length) => {
      assert.equal(open, undefined);
      open = { length, parts: [] };
    },
    copyData: (bytes) => {
      assert.ok(bytes.length > 0);
      open!.parts.push(Buffer.from(bytes));
    },
    copyEnd: () => {
      const body = Buffer.concat(open!.parts);
      assert.equal(body.length, open!.length);
      result.push({ type: 'd', body });
      open = undefined;
    },
  });
  for (const part of parts) reader.push(part);
  return result;
}

const sample: readonly Sent[] = [
  { type: 'T', body: Buffer.from('columns') },
  { type: 'c', body: Buffer.alloc(0) },
  { type: 'd', body: Buffer.alloc(0) },
  { type: 'd', body: Buffer.alloc(40_000, 7) },
  { type: 'd', body: Buffer.from([1]) },
  { type: 'D', body: Buffer.alloc(70_000, 3) },
  { type: 'Z', body: Buffer.from('I') },
];

test('messages in one piece and byte by byte – come out as sent', () => {
  const bytes = Buffer.concat(sample.map(encode));
  assert.deepEqual(read([bytes]), sample);
  assert.deepEqual(read(pieces(bytes, 1)), sample);
});

test('random messages in random pieces – come out as sent', () => {
  const body = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes));
  const sent = fc.record(
    { type: fc.constantFrom('d', 'T', 'D', 'c', 'Z', 'N'), body },
    { noNullPrototype: true },
  );
  const lengths = fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1 });
  fc.assert(
    fc.property(fc.array(sent, { maxLength: 12 }), lengths, (messages, sizes) => {
      assert.deepEqual(read(cuts(Buffer.concat(messages.map(encode)), sizes)), messages);
    }),
    { numRuns: 300 },
  );
});

test('the payload of CopyData – is a view of the bytes that were pushed', () => {
  const bytes = encode({ type: 'd', body: Buffer.alloc(1000, 5) });
  const views: Uint8Array[] = [];
  const reader = new BackendReader({
    message() {},
    copyStart() {},
    copyData: (view) => views.push(view),
    copyEnd() {},
  });
  reader.push(bytes.subarray(0, 300));
  reader.push(bytes.subarray(300));
  assert.deepEqual(
    views.map((view) => [view.buffer === bytes.buffer, view.byteOffset - bytes.byteOffset, view.length]),
    [
      [true, 5, 295],
      [true, 300, 705],
    ],
  );
});

test('an impossible length – PROTOCOL', () => {
  for (const head of [
    [0x5a, 0, 0, 0, 3],
    [0x5a, 0x7f, 0xff, 0xff, 0xff],
    [0x64, 0xff, 0xff, 0xff, 0xff],
  ]) {
    for (const size of [1, 5]) {
      assert.throws(
        () => read(pieces(Uint8Array.from(head), size)),
        (thrown) => thrown instanceof HelvinoError && thrown.code === 'PROTOCOL',
      );
    }
  }
});

test('garbage – never anything but HelvinoError PROTOCOL', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 1, max: 40 }), (bytes, size) => {
      try {
        read(pieces(bytes, size));
      } catch (thrown) {
        assert.ok(thrown instanceof HelvinoError && thrown.code === 'PROTOCOL', String(thrown));
      }
    }),
    { numRuns: 500 },
  );
});
