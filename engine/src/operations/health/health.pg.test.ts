import assert from 'node:assert/strict';
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type Fixture, makeFixture, query } from '../../../test/backup-fixture.ts';
import { startTestServer, type TestServer } from '../../../test/pg-server.ts';
import { startWalStream } from '../../../test/wal-stream.ts';
import { systemClock } from '../../base/clock.ts';
import { HelvinoError } from '../../base/errors.ts';
import { backupId } from '../../base/ids.ts';
import { parseConfigText } from '../../config/index.ts';
import { resolveConnection } from '../../postgres/index.ts';
import { openRepository, putVerification, type Repository } from '../../repository/index.ts';
import { openFsDriver } from '../../storage/index.ts';
import { type HealthOptions, type HealthReport, health } from './health.ts';

const config = (more: string) =>
  parseConfigText(
    `version: 1
repositories: { r: { storage: { type: fs, path: . }, recipients: [age1a], catalogKey: { file: key } } }
databases: { main: { connection: {}, repository: r, wal: { slot: helvino, maxLag: 1s }, health: { ${more} } } }`,
    'test',
  ).databases.main!;

describe('health', { concurrency: 1 }, () => {
  let server: TestServer;
  let fixture: Fixture;
  before(async () => {
    server = await startTestServer({
      major: 18,
      initdbArgs: ['--wal-segsize=1'],
      config: { summarize_wal: 'on' },
    });
    fixture = await makeFixture();
    await query(server, 'create table t as select i, md5(i::text) from generate_series(1, 20000) i');
    await fixture.takeBackup(server);
  });
  after(async () => {
    await server[Symbol.asyncDispose]();
    await fixture[Symbol.asyncDispose]();
  });

  async function look(overrides: Partial<HealthOptions> = {}): Promise<HealthReport> {
    const { repository } = fixture;
    return health({
      repository,
      database: 'main',
      settings: config(''),
      clock: systemClock,
      env: {},
      copies: [],
      ...overrides,
    });
  }

  /** Checks that are not good, without those about proofs, which these tests have none of. */
  function bad({ checks }: HealthReport): string[] {
    return checks
      .filter(({ name, state }) => state !== 'ok' && name !== 'physical drill' && name !== 'verification')
      .map(({ name, state, detail }) => `${state} ${name}: ${detail}`);
  }

  async function copyOf(name: string): Promise<{ root: string; open: () => Promise<Repository> }> {
    const root = join(fixture.home, name);
    await cp(fixture.root, root, { recursive: true });
    const { ring } = fixture.repository;
    return { root, open: async () => openRepository(await openFsDriver({ root }), { ring }) };
  }

  test('a copy that has the newest backup – good; one that lacks objects of it or all of it – critical; one that is away – unknown', async () => {
    const whole = await copyOf('whole');
    const cut = await copyOf('cut');
    await rm(join(cut.root, 'packs'), { recursive: true });
    const behind = await copyOf('behind');
    const [newest] = (await fixture.repository.backups()).slice(-1);
    await rm(join(behind.root, 'backups/main', newest!.id));
    const away = () => Promise.reject(new HelvinoError('STORAGE_UNAVAILABLE', 'the store does not answer'));
    const report = await look({
      copies: [
        { name: 'whole', open: whole.open },
        { name: 'cut', open: cut.open },
        { name: 'behind', open: behind.open },
        { name: 'away', open: away },
      ],
    });
    assert.equal(report.state, 'critical');
    const found = bad(report);
    assert.equal(found.length, 3, found.join('\n'));
    assert.match(
      found[0]!,
      /^critical copy cut: \d+ objects of the newest physical backup, \S+, are not there: helvino copy brings it/,
    );
    assert.equal(
      found[1],
      `critical copy behind: the newest physical backup, ${newest!.id}, is not there: helvino copy brings it`,
    );
    assert.equal(found[2], 'unknown copy away: it cannot be looked at: the store does not answer');
  });

  test('a kind that the configuration wants and that has no backup – critical', async () => {
    const report = await look({ settings: config('kinds: { logical: { maxAge: 8d } }') });
    assert.deepEqual(bad(report), ['critical logical age: there is no backup']);
  });

  test('WAL – good while it streams; a stream that ended is critical; a server that does not answer is unknown', async () => {
    const connection = await resolveConnection({ url: server.url }, {});
    const stream = await startWalStream(fixture, server);
    await query(server, 'insert into t select 1');
    await fixture.takeBackup(server);
    await query(server, 'insert into t select 2');
    await stream.upToNow();
    const good = await look({ connection });
    assert.deepEqual(bad(good), []);
    assert.equal(good.recoverable?.how, 'any moment');
    await stream.end();
    await query(server, 'insert into t select i from generate_series(1, 100000) i');
    const found = bad(await look({ connection }));
    assert.ok(
      found.some((line) => /^critical WAL stream: no stream is running/.test(line)),
      found.join('\n'),
    );
    const nowhere = await resolveConnection({ url: 'postgresql://postgres@127.0.0.1:1/postgres' }, {});
    const unknown = await look({ connection: nowhere });
    assert.match(bad(unknown).join(), /^unknown WAL server: the server did not answer/);
  });

  test('no drill, no verification – warnings that say what to do', async () => {
    const report = await look();
    assert.deepEqual(
      report.checks.filter(({ state }) => state === 'warning').map(({ detail }) => detail),
      ['never verified: helvino verify --read-data', 'no backup is proven yet: helvino drill'],
    );
    assert.equal(report.state, 'warning');
  });

  test('a backup was found damaged, and then good by one that read less – critical until one that reads as much finds it good', async () => {
    const { repository } = fixture;
    const { id: backup } = (await repository.backups('main')).at(-1)!;
    const verified = async (depth: string, damaged: string[]) => {
      const verdict = damaged.length === 0 ? 'passed' : 'failed';
      const now = new Date(Date.now() + ++verifications * 1000);
      const result = { verdict, depth, finished: now.toISOString(), backups: 1, damaged, program: 'test' };
      await putVerification(repository, { database: 'main', id: backupId(now), result });
      return (await look()).checks.find(({ name }) => name === 'physical damage');
    };
    let verifications = 0;
    assert.equal((await verified('every byte', [backup]))?.state, 'critical');
    const found = await verified('structure', []);
    assert.deepEqual([found?.state, found?.detail.includes(backup)], ['critical', true]);
    assert.equal(await verified('every byte', []), undefined);
  });
});
