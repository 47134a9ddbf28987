/** A network between: what it does to a connection in the middle of a backup, and of a stream. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { bigTable, onceReceived } from '../../../test/backup-faults.ts';
import { makeFixture, query, serverContents } from '../../../test/backup-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { hastyClock, startWalStream } from '../../../test/wal-stream.ts';
import { systemClock } from '../../base/clock.ts';
import type { ErrorCode } from '../../base/error-codes.ts';

class Network implements AsyncDisposable {
  readonly url: string;
  readonly #server: ReturnType<typeof createServer>;
  readonly #pairs = new Set<{ near: Socket; far: Socket }>();

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server;
    this.url = `postgresql://postgres@127.0.0.1:${(server.address() as AddressInfo).port}/postgres`;
  }

  static async before({ port }: TestServer): Promise<Network> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const network = new Network(server);
    server.on('connection', (near) => network.#join(near, port));
    return network;
  }

  #join(near: Socket, port: number): void {
    const far = connect(port, '127.0.0.1');
    const pair = { near, far };
    this.#pairs.add(pair);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => {
        other.destroy();
        this.#pairs.delete(pair);
      });
      one.pipe(other);
    }
  }

  /** To all connections that there are. */
  async each(work: (near: Socket, far: Socket) => void): Promise<void> {
    for (let i = 0; i < 100 && this.#pairs.size === 0; i++) await sleep(50);
    assert.ok(this.#pairs.size > 0);
    for (const { near, far } of [...this.#pairs]) work(near, far);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { near, far } of this.#pairs) {
      near.destroy();
      far.destroy();
    }
    this.#server.close();
    await once(this.#server, 'close');
  }
}

const faults: Readonly<
  Record<string, { codes: readonly ErrorCode[]; work: (near: Socket, far: Socket) => void }>
> = {
  'it is reset': { codes: ['SERVER_GONE'], work: (near) => near.resetAndDestroy() },
  'it ends without a word': { codes: ['SERVER_GONE'], work: (near) => near.end() },
  'something that is no answer comes': {
    codes: ['PROTOCOL', 'SERVER_GONE'],
    work: (near, far) => {
      far.unpipe(near);
      near.write(Buffer.alloc(1 << 20, 0xfe));
    },
  },
};

for (const [what, { codes, work }] of Object.entries(faults))
  test(`the connection of a backup: ${what} – a clear error, nothing committed; the next backup works`, async () => {
    await using server = await startTestServer({ major: 17, initdbArgs: ['-k'] });
    await using network = await Network.before(server);
    await using fixture = await makeFixture();
    await query(server, bigTable('big'));
    const first = await fixture.takeBackup(network);
    const contents = await serverContents(server);
    const cut = onceReceived(5e6, () => network.each(work));
    const broken = fixture.takeBackup(network, { kind: 'full', maxRateKiB: 16384, progress: cut.progress });
    await assert.rejects(broken, (thrown: { code: ErrorCode; message: string }) => {
      assert.ok(codes.includes(thrown.code), `${thrown.code}: ${thrown.message}`);
      return true;
    });
    await cut.done();
    assert.deepEqual(
      (await fixture.repository.backups('main')).map(({ id }) => id),
      [first.id],
    );
    const again = await fixture.takeBackup(network);
    assert.deepEqual(await fixture.contentsOf(again), contents);
  });

test('the connection of a stream is reset, again and again – it goes on, and nothing is missing', async () => {
  await using server = await startTestServer({ major: 18, initdbArgs: ['--wal-segsize=1'] });
  await using network = await Network.before(server);
  await using fixture = await makeFixture();
  await query(server, 'create table t (i int, t text)');
  await using stream = await startWalStream(fixture, network, { clock: hastyClock });
  await stream.upToNow(server);
  for (const fault of Object.values(faults)) {
    await query(server, `insert into t select g, repeat(md5(g::text), 20) from generate_series(1, 3000) g`);
    await network.each(fault.work);
    await stream.upToNow(server);
  }
  assert.match(stream.notes.join('\n'), /trying again in/);
});

test('a server that cannot be reached – the stream tries again after 1, 2, 4 seconds, and so on up to 30', async () => {
  await using server = await startTestServer({ major: 18 });
  await using fixture = await makeFixture();
  const pauses: number[] = [];
  const stop = new AbortController();
  await server.stop();
  await using stream = await startWalStream(fixture, server, {
    signal: stop.signal,
    clock: {
      ...systemClock,
      sleep: async (milliseconds) => {
        if (pauses.push(milliseconds) === 7) stop.abort();
      },
    },
  });
  await stream.done;
  assert.deepEqual(pauses, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
});
