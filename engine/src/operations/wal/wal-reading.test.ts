import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeWalServer } from '../../../test/fake-wal-server.ts';
import { VirtualClock } from '../../../test/virtual-clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import { type ReadingOptions, WalReading } from './wal-reading.ts';

type Outcome = { readonly end?: Awaited<ReturnType<WalReading['run']>>; readonly thrown?: unknown };

/** A reading from position 0 on, and what came of it. */
function begin(server: FakeWalServer, overrides: Partial<ReadingOptions> = {}) {
  const clock = new VirtualClock();
  let received = 0n;
  const reading = new WalReading({
    replication: server,
    slot: 'helvino',
    timeline: 1,
    startLsn: 0n,
    sink: {
      wal: (at, bytes) => {
        assert.equal(at, received, 'no gap');
        received += BigInt(bytes.length);
      },
      ready: () => undefined,
    },
    synchronous: false,
    mayLeave: async () => true,
    standby: false,
    restMs: 200,
    visitMs: 800,
    clock,
    ...overrides,
  });
  let outcome: Outcome | undefined;
  reading.run().then(
    (end) => (outcome = { end }),
    (thrown: unknown) => (outcome = { thrown }),
  );
  return {
    clock,
    reading,
    received: () => received,
    outcome: () => outcome,
    /** The server writes a megabyte a second, and what is received is confirmed once a second. */
    async load(seconds: number) {
      for (let i = 1; i <= seconds * 100; i++) {
        server.write(10_000);
        await clock.pass(10);
        if (i % 100 === 0) reading.sendStatus({ written: received, flushed: received, applied: received });
      }
    },
  };
}

test('bursts on a calm server, of two seconds and less – one stream', async () => {
  const server = new FakeWalServer(1000n);
  const run = begin(server);
  for (let i = 0; i < 5; i++) {
    await run.load(1.5);
    await run.clock.pass(2000);
  }
  assert.equal(server.starts.length, 1);
  run.reading.stop();
  await run.clock.pass(0);
});

test('a calm server – one stream; a busy one – visits, to fetch and to tell; calm again – one stream', async () => {
  const server = new FakeWalServer(1000n);
  const run = begin(server);
  for (let i = 0; i < 50; i++) {
    server.write(1000);
    await run.clock.pass(100);
  }
  assert.equal(server.starts.length, 1);
  await run.load(5);
  const before = server.starts.length;
  await run.load(2);
  const visits = server.starts.length - before;
  assert.ok(visits >= 3 && visits <= 5, `${visits} visits in two seconds`);
  assert.equal(server.stream, undefined, 'no stream runs between two visits');
  await run.clock.pass(3000);
  assert.ok(server.stream, 'a calm server is listened to');
  assert.equal(run.received(), server.end);
  run.reading.sendStatus({ written: server.end, flushed: server.end, applied: server.end });
  assert.equal(server.told.at(-1)?.flushed, server.end);
  run.reading.stop();
  await run.clock.pass(0);
  assert.deepEqual(run.outcome(), { end: undefined });
});

test('a busy server – one store for each visit that was due, and the server hears of it at once', async () => {
  const server = new FakeWalServer(1000n);
  let due = 0;
  const run = begin(server, { onVisited: () => due++ });
  const store = async () => {
    const flushed = run.received();
    assert.ok(server.end - flushed <= 10_000n, 'all was fetched');
    await run.clock.pass(100);
    run.reading.sendStatus({ written: flushed, flushed, applied: flushed });
    await run.clock.pass(10);
    assert.equal(server.told.at(-1)?.flushed, flushed);
  };
  await run.load(5);
  const before = due;
  for (let i = 0; i < 400; i++) {
    const seen = due;
    server.write(10_000);
    await run.clock.pass(10);
    if (due > seen) await store();
  }
  const times = due - before;
  assert.ok(times >= 5 && times <= 6, `${times} in four and a half seconds`);
  run.reading.stop();
  await run.clock.pass(0);
});

test('much to tell, again and again – told together, and each visit that is due is', async () => {
  const server = new FakeWalServer(1000n);
  let due = 0;
  const run = begin(server, { onVisited: () => due++ });
  await run.load(5);
  const [visits, times] = [server.starts.length, due];
  // Whole segments become durable all the time.
  for (let i = 0; i < 400; i++) {
    server.write(800_000);
    await run.clock.pass(10);
    const flushed = run.received();
    run.reading.sendStatus({ written: flushed, flushed, applied: flushed });
  }
  assert.ok(due - times >= 4, `${due - times} were due in four seconds`);
  assert.ok(server.starts.length - visits <= 85, `${server.starts.length - visits} visits in four seconds`);
  run.reading.stop();
  await run.clock.pass(0);
});

test('a calm server with much to catch up with – one stream', async () => {
  const server = new FakeWalServer(50_000_000n);
  const run = begin(server);
  for (let i = 0; i < 50; i++) {
    server.write(100);
    await run.clock.pass(100);
  }
  await run.clock.pass(500);
  assert.equal(run.received(), server.end);
  assert.equal(server.starts.length, 1);
});

test('commits begin to wait while the server is visited – the stream stays from then on', async () => {
  const server = new FakeWalServer(1000n);
  let mayLeave = true;
  const run = begin(server, { mayLeave: async () => mayLeave });
  await run.load(5);
  assert.equal(server.stream, undefined);
  mayLeave = false;
  await run.load(1);
  const before = server.starts.length;
  assert.ok(server.stream);
  await run.load(5);
  assert.equal(server.starts.length, before);
  assert.ok(server.stream);
});

test('a standby is promoted between two visits, before the end of what it had sent – the end of its timeline', async () => {
  const server = new FakeWalServer(1000n);
  const run = begin(server, { standby: true, visitMs: 200 });
  await run.load(5);
  await run.clock.pass(100);
  assert.equal(server.stream, undefined);
  assert.equal(run.received(), server.end);
  const switchLsn = server.end - 10n;
  server.switches.set(1, switchLsn);
  server.timeline = 2;
  await run.clock.pass(500);
  assert.deepEqual(run.outcome(), { end: { nextTimeline: 2, switchLsn } });
});

test('promoted twice, and once between asking and beginning – the end of the own timeline', async () => {
  const server = new FakeWalServer(1000n);
  const run = begin(server, { standby: true, visitMs: 200 });
  await run.load(5);
  const switchLsn = server.end - 10n;
  const identify = server.identify.bind(server);
  server.identify = async () => {
    const before = await identify();
    server.identify = identify;
    server.switches.set(1, switchLsn).set(2, server.end + 100n);
    server.timeline = 4;
    return { ...before, xlogpos: server.end + 50n };
  };
  await run.clock.pass(500);
  assert.deepEqual(run.outcome(), { end: { nextTimeline: 2, switchLsn } });
});

test('a standby is promoted between two visits, at or after what it had sent – the rest, then the end', async () => {
  const server = new FakeWalServer(1000n);
  const run = begin(server, { standby: true, visitMs: 200 });
  await run.load(5);
  server.write(500);
  server.switches.set(1, server.end);
  server.timeline = 2;
  await run.clock.pass(500);
  assert.deepEqual(run.outcome(), { end: { nextTimeline: 2, switchLsn: server.end } });
  assert.equal(run.received(), server.end);
});

test('a standby that answers for less than it had sent – is waited for, between visits and at the start', async () => {
  const server = new FakeWalServer(1000n);
  const run = begin(server, { standby: true, visitMs: 200 });
  await run.load(5);
  await run.clock.pass(100);
  const { end } = server;
  server.end -= 5000n;
  const before = server.starts.length;
  run.reading.sendStatus({ written: end, flushed: end, applied: end });
  await run.clock.pass(5000);
  assert.equal(run.outcome(), undefined);
  assert.equal(server.starts.length, before, 'no visit that would be refused');
  server.end = end + 100n;
  await run.clock.pass(2000);
  assert.equal(run.received(), server.end);

  const restarted = new FakeWalServer(0n);
  const start = begin(restarted, { standby: true, startLsn: 1000n });
  await start.clock.pass(3000);
  assert.equal(start.outcome(), undefined);
  restarted.end = 1000n;
  await start.clock.pass(1000);
  assert.ok(restarted.stream);
});

test('a primary that has less than what is stored – its refusal is what is thrown', async () => {
  const server = new FakeWalServer(0n);
  const run = begin(server, { startLsn: 1000n });
  await run.clock.pass(1000);
  assert.ok(run.outcome()?.thrown instanceof HelvinoError);
});

for (const [what, when] of [
  ['between two visits', (server: FakeWalServer) => server.stream === undefined],
  ['while it streams', (server: FakeWalServer) => server.stream !== undefined],
] as const)
  test(`a dead server, ${what} – stop ends the reading within seconds`, async () => {
    const server = new FakeWalServer(1000n);
    const run = begin(server);
    if (what === 'between two visits') await run.load(5);
    else await run.clock.pass(100);
    assert.ok(when(server));
    server.dead = true;
    await run.clock.pass(30_000);
    run.reading.stop();
    await run.clock.pass(4000);
    assert.equal(run.outcome(), undefined, 'it may still answer');
    await run.clock.pass(2000);
    assert.deepEqual(run.outcome(), { end: undefined });
  });

for (const seconds of [0, 5])
  test(`a server that is dead, ${seconds > 0 ? 'between two visits' : 'while it streams'} – SERVER_GONE after a minute of silence, not before`, async () => {
    const server = new FakeWalServer(1000n);
    const run = begin(server);
    await run.load(seconds);
    await run.clock.pass(100);
    server.dead = true;
    await run.clock.pass(59_000);
    assert.equal(run.outcome(), undefined);
    await run.clock.pass(12_000);
    const thrown = run.outcome()?.thrown;
    assert.ok(thrown instanceof HelvinoError && thrown.code === 'SERVER_GONE');
  });

test('a server that has nothing to say, and a sink that is not ready for long – nobody is taken for dead', async () => {
  const server = new FakeWalServer(1000n);
  let room: (() => void) | undefined;
  let isFull = false;
  const sink = {
    wal: () => undefined,
    ready: () =>
      isFull
        ? new Promise<void>((resolve) => {
            room = resolve;
          })
        : undefined,
  };
  const run = begin(server, { sink });
  await run.clock.pass(600_000);
  assert.equal(run.outcome(), undefined, 'it was asked, and has answered');
  isFull = true;
  server.write(1000);
  await run.clock.pass(600_000);
  assert.equal(run.outcome(), undefined, 'nothing was read');
  isFull = false;
  room!();
  await run.clock.pass(600_000);
  assert.equal(run.outcome(), undefined);
});

test('stop before the start, and while a dead server does not begin – the reading ends', async () => {
  const server = new FakeWalServer(1000n);
  for (const wait of [0, 30_000]) {
    const run = begin(server);
    server.dead = wait > 0;
    if (wait > 0) await run.clock.pass(wait);
    run.reading.stop();
    await run.clock.pass(6000);
    assert.deepEqual(run.outcome(), { end: undefined });
    assert.equal(run.received(), 0n);
  }
});
