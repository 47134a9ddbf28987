import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { cuts } from '../../../test/splits.ts';
import { HelvinoError } from '../../base/errors.ts';
import type { Connected } from '../connect.ts';
import { Channel } from './channel.ts';
import { ReplicationConnection } from './replication-connection.ts';

/** A server made of bytes. */
class FakeTransport {
  readonly socket = { write: () => true };
  onBytes: (bytes: Uint8Array) => void = () => {};
  onClose: (cause: Error | undefined) => void = () => {};
  closed: { cause: Error | undefined } | undefined;
  #paused = false;

  destroy(): void {
    if (this.closed) return;
    this.closed = { cause: undefined };
    this.onClose(undefined);
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
  }

  /** As the network does: nothing comes while reading is paused. */
  async feed(parts: Iterable<Uint8Array>): Promise<void> {
    for (const part of parts) {
      for (let turns = 0; this.#paused && turns < 100; turns++) await setImmediate();
      if (this.#paused) this.destroy();
      assert.ok(!this.#paused, 'reading was paused, and never went on');
      if (this.closed) return;
      this.onBytes(part);
    }
  }
}

function connected(version: number, rest: Uint8Array = new Uint8Array(0)) {
  const transport = new FakeTransport();
  const fake = {
    transport,
    host: { host: 'h', address: undefined, port: 1 },
    rest: () => rest,
  } as unknown as Connected;
  return { transport, connection: new ReplicationConnection(new Channel(fake, 'u'), version) };
}

function message(type: string, body: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, 0, 'latin1');
  head.writeUInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

const columns = (...names: string[]) =>
  message(
    'T',
    Buffer.concat([
      Buffer.from([0, names.length]),
      ...names.flatMap((name) => [Buffer.from(`${name}\0`), Buffer.alloc(18)]),
    ]),
  );
const row = (...values: string[]) =>
  message(
    'D',
    Buffer.concat([
      Buffer.from([0, values.length]),
      ...values.flatMap((v) => [Buffer.from([0, 0, 0, v.length]), Buffer.from(v)]),
    ]),
  );
const position = (lsn: string) => [
  columns('recptr', 'tli'),
  row(lsn, '1'),
  message('C', Buffer.from('SELECT\0')),
];
const ready = message('Z', Buffer.from('I'));

const wal = (start: number, text: string, serverEnd = start + text.length) => {
  const head = Buffer.alloc(25);
  head.write('w');
  head.writeBigUInt64BE(BigInt(start), 1);
  head.writeBigUInt64BE(BigInt(serverEnd), 9);
  return message('d', Buffer.concat([head, Buffer.from(text)]));
};

const backupTalk: readonly Buffer[] = [
  ...position('0/2000028'),
  columns('spcoid', 'spclocation', 'size'),
  message('D', Buffer.from([0, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255])),
  message('C', Buffer.from('SELECT\0')),
  message('H', Buffer.from([0, 0, 0])),
  message('d', Buffer.from('nbase.tar\0\0')),
  message('d', Buffer.from('dsome tar')),
  message('N', Buffer.from('VWARNING\0C01000\0Mbeware\0\0')),
  message('d', Buffer.from('p12345678')),
  message('d', Buffer.from('d bytes')),
  message('c', Buffer.alloc(0)),
  ...position('0/2000100'),
  message('C', Buffer.from('SELECT\0')),
  ready,
];
const walTalk: readonly Buffer[] = [
  message('W', Buffer.from([0, 0, 0])),
  wal(0x1000, 'abc'),
  message('d', Buffer.concat([Buffer.from('k'), Buffer.alloc(16), Buffer.from([1])])),
  wal(0x1003, 'def'),
  message('c', Buffer.alloc(0)),
  columns('next_tli', 'next_tli_startpos'),
  row('2', '0/1006'),
  message('C', Buffer.from('SELECT\0')),
  ready,
];

async function backup(version: number, parts: Iterable<Uint8Array>): Promise<string> {
  const { transport, connection } = connected(version);
  let text = '';
  const run = connection.baseBackup(
    { label: 'x', fast: true, verifyChecksums: true, progress: true, wal: false },
    {
      started: (info) => (text += `started ${info.startLsn};`),
      archive: ({ oid }) => (text += `archive ${oid};`),
      data: (bytes) => (text += Buffer.from(bytes).toString('latin1')),
      ready: () => undefined,
      notice: (_severity, notice) => (text += `(${notice})`),
    },
  );
  await transport.feed(parts).finally(() => transport.destroy());
  const { stopLsn } = await run;
  return `${text};stop ${stopLsn}`;
}

async function stream(parts: Iterable<Uint8Array>): Promise<string> {
  const { transport, connection } = connected(170000);
  let text = '';
  const started = connection.startPhysicalReplication(
    { startLsn: 0x1000n, timeline: 1 },
    {
      wal: (at, bytes) => (text += `${at}:${Buffer.from(bytes).toString('latin1')};`),
      ready: () => undefined,
    },
  );
  await transport.feed(parts).finally(() => transport.destroy());
  const { endOfTimeline } = await (await started).done;
  return `${text}next ${endOfTimeline?.nextTimeline} at ${endOfTimeline?.switchLsn}`;
}

test('a base backup in pieces of any size – the same calls to the sink', async () => {
  const expected = `started ${0x2000028};archive undefined;some tar(beware) bytes;stop ${0x2000100}`;
  const bytes = Buffer.concat(backupTalk);
  for (const size of [1, 2, 7, 64, bytes.length])
    assert.equal(await backup(170000, cuts(bytes, [size])), expected);
});

test('a WAL stream in pieces of any size – the same WAL, and the end of the timeline after it', async () => {
  const bytes = Buffer.concat(walTalk);
  assert.equal(await stream([bytes]), `${0x1000}:abc;${0x1003}:def;next 2 at ${0x1006}`);
  assert.equal(
    await stream(cuts(bytes, [1])),
    `4096:a;4097:b;4098:c;4099:d;4100:e;4101:f;next 2 at ${0x1006}`,
  );
});

test('a start that the server refuses, in pieces – the error, and the connection goes on', async () => {
  const { transport, connection } = connected(170000);
  const sink = { wal: () => assert.fail('no WAL was sent'), ready: () => undefined };
  const refused = connection.startPhysicalReplication({ startLsn: 0x1000n, timeline: 1 }, sink);
  const error = message('E', Buffer.from('VERROR\0C42704\0Mno such slot\0\0'));
  const [outcome] = await Promise.allSettled([
    refused,
    transport.feed(cuts(Buffer.concat([error, ready]), [3])),
  ]);
  assert.ok(outcome.status === 'rejected' && outcome.reason instanceof HelvinoError, 'the start was refused');
  assert.equal(outcome.reason.context.sqlstate, '42704');
  const again = connection.show('server_version');
  const answer = [columns('server_version'), row('17.1'), message('C', Buffer.from('SHOW\0')), ready];
  await transport.feed(cuts(Buffer.concat(answer), [5]));
  assert.equal(await again, '17.1');
});

test('WAL with a gap – PROTOCOL', async () => {
  const gap = stream([walTalk[0]!, wal(0x1001, 'x')]);
  await assert.rejects(gap, (thrown) => thrown instanceof HelvinoError && thrown.code === 'PROTOCOL');
});

test('more WAL than the server says that it has – PROTOCOL: a length was garbled on the way', async () => {
  const long = stream([walTalk[0]!, wal(0x1000, 'abcdef', 0x1003)]);
  await assert.rejects(long, (thrown) => thrown instanceof HelvinoError && thrown.code === 'PROTOCOL');
});

test('bytes that came before the take-over – are not lost', async () => {
  const shutdown = message('E', Buffer.from('VFATAL\0C57P01\0Mterminating connection\0\0'));
  const { connection } = connected(170000, shutdown);
  await assert.rejects(
    connection.identify(),
    (thrown) => thrown instanceof HelvinoError && thrown.code === 'SERVER_GONE',
  );
});

test('a talk that is shuffled, cut and damaged – ends with a result or a HelvinoError, never hangs', async () => {
  const piece = (talk: readonly Buffer[]) =>
    fc.oneof(
      fc.constantFrom(...talk),
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      fc
        .tuple(fc.constantFrom('d', 'T', 'D', 'E', 'N', 'Z', 'c', 'W', 'H'), fc.uint8Array({ maxLength: 30 }))
        .map(([type, body]) => message(type, body)),
    );
  const settled = async (work: Promise<unknown>) => {
    await work.catch((thrown: unknown) =>
      assert.ok(thrown instanceof HelvinoError && thrown.code !== 'INTERNAL', String(thrown)),
    );
  };
  const lengths = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 });
  for (const [talk, run] of [
    [backupTalk, (parts: Iterable<Uint8Array>) => backup(170000, parts)],
    [backupTalk, (parts: Iterable<Uint8Array>) => backup(140000, parts)],
    [walTalk, stream],
  ] as const) {
    const input = fc.tuple(fc.nat(talk.length), fc.array(piece(talk), { maxLength: 8 }), lengths);
    await fc.assert(
      fc.asyncProperty(input, async ([begin, tail, sizes]) => {
        await settled(run(cuts(Buffer.concat([...talk.slice(0, begin), ...tail]), sizes)));
      }),
      { numRuns: 300 },
    );
  }
});
