import assert from 'node:assert/strict';
import { chmod, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type Docker from 'dockerode';
import { type Fixture, makeFixture, notPassed, query } from '../../../test/backup-fixture.ts';
import { helvino } from '../../../test/cli.ts';
import {
  dataPlace,
  makePostgresImage,
  startPostgresContainer,
  startTestEngine,
  type TestEngine,
  withoutEngine,
} from '../../../test/docker-engine.ts';
import { serverFolder } from '../../../test/pg-server.ts';
import { systemClock } from '../../base/clock.ts';
import { silentProgress } from '../../base/progress.ts';
import { volumeFacts } from '../../catalog/index.ts';
import { formatCatalogRing, type Manifest } from '../../repository/index.ts';
import { recordRun } from '../runs/record-run.ts';
import { verify } from '../verify/verify.ts';
import { type RestoreVolumeOptions, restoreVolume } from './restore-volume.ts';
import { type VolumeBackupOptions, volumeBackup } from './volume-backup.ts';

const skip = await withoutEngine();
const image = 'test-postgres:18';
const volume = 'helvino_postgres_data';
let engine: TestEngine;
let fixture: Fixture;
let container: Docker.Container;
let stored: Manifest;

before(async () => {
  if (skip) return;
  fixture = await makeFixture();
  engine = await startTestEngine();
  await makePostgresImage(engine.docker, image);
  const sockets = join(fixture.home, 'sockets');
  container = await startPostgresContainer(engine.docker, {
    image,
    name: 'helvino-postgres',
    volume,
    sockets,
    user: 'helvino',
  });
  await query(
    here(),
    'create table t as select i, md5(i::text) as m from generate_series(1, 20000) i',
    'create index on t (i)',
  );
  stored = await take();
});

after(async () => {
  await engine?.[Symbol.asyncDispose]();
  if (fixture) await rm(join(fixture.home, 'sockets'), { recursive: true, force: true });
  await fixture?.[Symbol.asyncDispose]();
});

const here = () => ({
  url: `postgresql://helvino@/postgres?host=${encodeURIComponent(join(fixture.home, 'sockets'))}`,
});

const common = () => ({
  env: {},
  clock: systemClock,
  progress: silentProgress,
  signal: new AbortController().signal,
  engine: engine.place,
});

const take = (overrides: Partial<VolumeBackupOptions> = {}): Promise<Manifest> => {
  const where = { repository: fixture.repository, database: 'main', program: 'test' };
  const options = {
    ...common(),
    ...where,
    recipients: [fixture.recipient],
    volume,
    stop: true,
    stopTimeout: 60,
    notes: {},
    level: 1,
    ...overrides,
  };
  return recordRun({ ...options, kind: 'volume' }, (run) => volumeBackup({ ...options, run }));
};

const restoreTo = (name: string, overrides: Partial<RestoreVolumeOptions> = {}) =>
  restoreVolume({
    ...common(),
    repository: fixture.repository,
    identities: fixture.identities,
    manifest: stored,
    volume: name,
    start: true,
    readyTimeoutMs: 120_000,
    ...overrides,
  });

test('a volume of a running PostgreSQL – stopped, read, started again', { skip }, async () => {
  const facts = volumeFacts(stored);
  assert.deepEqual(
    [facts.volume, facts.quiet, facts.postgres, facts.warnings],
    [volume, true, { path: '.', major: 18, superuser: 'helvino' }, []],
  );
  assert.deepEqual(facts.containers, [
    { name: 'helvino-postgres', image, running: true, destination: dataPlace },
  ]);
  const { State: state } = await container.inspect();
  assert.equal(state.Running, true);
  const left = await engine.docker.listContainers({ all: true });
  assert.equal(left.length, 1);
  assert.equal((await engine.docker.listImages()).length, 1);
});

test('restored into a new volume – equal, and PostgreSQL starts on it', { skip }, async () => {
  const result = await restoreTo('restored');
  assert.deepEqual(
    result.checks.map((check) => `${check.name} ${check.state}`),
    ['content passed', 'PostgreSQL starts passed'],
    JSON.stringify(result.checks),
  );
  const sockets = join(fixture.home, 'sockets-2');
  const copy = await startPostgresContainer(engine.docker, {
    image,
    name: 'copy',
    volume: 'restored',
    sockets,
  });
  const url = `postgresql://helvino@/postgres?host=${encodeURIComponent(sockets)}`;
  const { rows } = await query<{ n: string }>({ url }, 'select count(*) as n from t where m = md5(i::text)');
  assert.equal(rows[0]!.n, '20000');
  await copy.remove({ force: true });
});

test('into a volume that is there, of one that is not there, without an engine – refused with a word', {
  skip,
}, async () => {
  await assert.rejects(restoreTo(volume), {
    code: 'TARGET_NOT_EMPTY',
    hint: /docker volume rm helvino_postgres_data/,
  });
  await assert.rejects(take({ volume: 'nope' }), { code: 'USAGE', hint: /helvino_postgres_data/ });
  await assert.rejects(take({ engine: 'unix:///nowhere/docker.sock' }), {
    code: 'ENGINE',
    message: /could not be reached/,
  });
  assert.equal(
    (await engine.docker.listVolumes()).Volumes.some((v) => v.Name === 'nope'),
    false,
  );
});

test('no image of PostgreSQL here – that it starts is unproven, not passed', { skip }, async () => {
  const result = await restoreTo('no_image', { image: 'postgres:nowhere' });
  assert.deepEqual(
    result.checks.map((check) => check.state),
    ['passed', 'unproven'],
  );
});

test('a damaged repository – nothing is taken for restored, and no volume is left', { skip }, async () => {
  const places = [...stored.packs]
    .filter((one) => !one.structure)
    .map(({ id }) => join(fixture.root, 'packs', id.slice(0, 2), id));
  const packs = await Promise.all(places.map(async (path) => ({ path, bytes: await readFile(path) })));
  // The last pack may hold next to nothing.
  const { path: place, bytes } = packs.sort((a, b) => b.bytes.length - a.bytes.length)[0]!;
  const bad = Buffer.from(bytes);
  assert.ok(bad.length > 200_000);
  bad[100_000]! ^= 1;
  await chmod(place, 0o600);
  await writeFile(place, bad);
  try {
    await assert.rejects(restoreTo('damaged'), { code: 'REPOSITORY_DAMAGED' });
    assert.equal(
      (await engine.docker.listVolumes()).Volumes.some((v) => v.Name === 'damaged'),
      false,
    );
  } finally {
    await writeFile(place, bytes);
  }
});

test('a drill of a volume – proven, without Docker', { skip }, async () => {
  const report = await fixture.drillIt(stored, { readyTimeoutMs: 120_000 });
  assert.deepEqual([report.verdict, notPassed(report)], ['proven', []]);
  assert.deepEqual(
    report.checks.map((check) => check.name),
    ['restore', 'consistency', 'start', 'amcheck', 'page checksums'],
  );
});

test('a drill of a volume whose superuser is not known – what needs the name is unproven, nothing has failed', {
  skip,
}, async () => {
  const facts = volumeFacts(stored);
  const { superuser: _, ...postgres } = facts.postgres!;
  const report = await fixture.drillIt(
    { ...stored, facts: { ...stored.facts, postgres } },
    { readyTimeoutMs: 120_000 },
  );
  const states = Object.fromEntries(report.checks.map(({ name, state }) => [name, state]));
  assert.deepEqual(
    [states.start, states.amcheck, states['page checksums']],
    ['passed', 'unproven', 'unproven'],
  );
  assert.notEqual(report.verdict, 'failed');
});

test('without stopping – read, and the warning says what that means', { skip }, async () => {
  const manifest = await take({ stop: false });
  const facts = volumeFacts(manifest);
  assert.equal(facts.quiet, false);
  assert.match(facts.warnings.join(), /helvino-postgres ran while the volume was read.*torn/);
  const report = await fixture.drillIt(manifest, { readyTimeoutMs: 120_000 });
  assert.notEqual(report.verdict, 'proven');
  assert.equal(report.checks.find((check) => check.name === 'consistency')?.state, 'unproven');
});

/** A folder with a configuration of the volume, and the command line in it. */
async function withCli(work: (home: string) => Promise<void>): Promise<void> {
  const home = await serverFolder('hv-volume-cli-');
  try {
    await writeFile(join(home, 'catalog.key'), formatCatalogRing(fixture.repository.ring.keys), {
      mode: 0o600,
    });
    await writeFile(join(home, 'identity'), fixture.identity, { mode: 0o600 });
    const lines = [
      'version: 1',
      'repositories:',
      `  main: { storage: { type: fs, path: ${fixture.root} }, recipients: [${fixture.recipient}], catalogKey: { file: catalog.key } }`,
      'databases:',
      '  cli:',
      '    connection: { url: "postgresql://nobody@127.0.0.1:1/none" }',
      '    repository: main',
      `    volume: { name: ${volume}, engine: "${engine.place}" }`,
    ];
    await writeFile(join(home, 'helvino.yaml'), lines.join('\n'));
    await work(home);
  } finally {
    await rm(home, { recursive: true });
  }
}

test('killed while the container is stopped – doctor and health say so, the next backup starts it', {
  skip,
}, async () => {
  await withCli(async (home) => {
    const powerCut = new AbortController();
    const running = helvino(['backup', '--kind', 'volume'], { cwd: home, kill: powerCut.signal });
    while ((await container.inspect()).State.Running) await sleep(5);
    powerCut.abort();
    assert.equal((await running).status, null);
    const cli = (...args: string[]) => helvino(args, { cwd: home });
    const doctor = await cli('doctor');
    assert.equal(doctor.status, 1);
    assert.match(doctor.stdout, /which was cut off, stopped helvino-postgres, not running since/);
    const health = await cli('health', '--no-server');
    assert.equal(health.status, 2);
    assert.match(health.stdout, /critical {2}containers: .*docker start helvino-postgres/);
    assert.match(health.stdout, /critical {2}volume last run: the last run, begun .* ago, was cut off/);
    assert.equal((await container.inspect()).State.Running, false);
    const again = await cli('backup', '--kind', 'volume');
    assert.equal(again.status, 0, again.stderr);
    assert.match(again.stderr, /helvino-postgres was stopped by the run of .*: it is started now/);
    assert.equal((await container.inspect()).State.Running, true);
    const after = await cli('health', '--no-server');
    assert.doesNotMatch(after.stdout, /containers|volume last run/);
  });
});

test('a container that was made with --rm – not stopped, for then it would be gone', { skip }, async () => {
  const sockets = join(fixture.home, 'sockets-rm');
  const passing = await startPostgresContainer(engine.docker, {
    image,
    name: 'passing',
    volume: 'passing_data',
    sockets,
    autoRemove: true,
  });
  await assert.rejects(take({ volume: 'passing_data' }), {
    code: 'ENGINE',
    message: /passing was made with --rm/,
  });
  assert.equal((await passing.inspect()).State.Running, true);
  await passing.remove({ force: true });
});

test('through the command line – backup, list, show, restore, drill', { skip }, async () => {
  await withCli(async (home) => {
    const cli = (...args: string[]) => helvino(args, { cwd: home });
    const taken = await cli('backup', '--kind', 'volume');
    assert.equal(taken.status, 0, taken.stderr);
    assert.match(taken.stdout, /written to +by nobody while it was read/);
    assert.match((await cli('list')).stdout, /volume .* volume helvino_postgres_data \(PG 18\)/);
    assert.match((await cli('show')).stdout, /containers +helvino-postgres \(test-postgres:18, running\)/);
    const dry = await cli('restore', '--to-volume', 'by_cli', '--identity', 'identity', '--dry-run');
    assert.match(dry.stdout, /would restore .* into the new volume by_cli/);
    const restored = await cli('restore', '--to-volume', 'by_cli', '--identity', 'identity');
    assert.equal(restored.status, 0, restored.stderr);
    assert.match(restored.stdout, /passed: PostgreSQL starts/);
    const wrong = await cli('restore', '--to-directory', 'x', '--identity', 'identity');
    assert.match(wrong.stderr, /there is no physical backup of cli/);
    const drilled = await cli('drill', '--kind', 'volume', '--identity', 'identity');
    assert.equal(drilled.status, 0, drilled.stdout + drilled.stderr);
  });
});

test('verify – every byte of a volume, too', { skip }, async () => {
  const { repository, identities } = fixture;
  const report = await verify({ ...common(), repository, identities, readData: true });
  assert.equal(report.verdict, 'passed', JSON.stringify(report));
});

test('the engine dies while it is read – no backup, and it says so', { skip }, async () => {
  const before = await fixture.repository.backups('main');
  let seen = 0;
  const progress = {
    ...silentProgress,
    advance(count: number) {
      seen += count;
      if (seen > 4 << 20) void engine.kill();
    },
  };
  await assert.rejects(take({ progress, stop: false }), { code: /^(ENGINE|PROTOCOL)$/ });
  assert.ok(seen > 4 << 20);
  assert.deepEqual(await fixture.repository.backups('main'), before);
});
