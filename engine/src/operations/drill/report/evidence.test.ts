/** The evidence of a period: nothing that an auditor would ask for is left out, and nothing in it can be changed unseen. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { memoryRepository } from '../../../../test/repository-fixture.ts';
import { systemClock } from '../../../base/clock.ts';
import { HelvinoError } from '../../../base/errors.ts';
import { idStamp } from '../../../base/ids.ts';
import { silentProgress } from '../../../base/progress.ts';
import { putPublicKey, type Repository } from '../../../repository/index.ts';
import { TarReader, writeTar } from '../../../tar/index.ts';
import { recordRun } from '../../runs/record-run.ts';
import { canonicalJson } from '../canonical-json.ts';
import type { DrillReport } from '../report.ts';
import { collectEvidence, type Evidence } from './evidence.ts';
import { makeBundle, verifyBundle } from './evidence-bundle.ts';
import { evidenceMarkdown, openPoints } from './evidence-page.ts';
import { keepReport } from './keep-report.ts';
import { testReport } from './report-fixture.ts';
import { createSigningKey, type SigningKey } from './signing-key.ts';

const day = 86_400_000;
const start = Date.UTC(2026, 0, 1);
const at = (days: number) => new Date(start + days * day);

let folder: string;
let key: SigningKey;
let other: SigningKey;
let evidence: Evidence;
let repository: Repository;
let removedReport: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-evidence-'));
  key = await createSigningKey(join(folder, 'one.key'));
  other = await createSigningKey(join(folder, 'two.key'));
});
after(() => rm(folder, { recursive: true, force: true }));

const idOf = (days: number, mark: string) => `${idStamp(at(days))}-${mark.padStart(8, '0')}`;

/**
 * A quarter: a backup each day but for four days from day 40 on; drills on days 5, 35 (failed), 37 (its re-test), and 88: more
 * than 32 days later. Backups before day 60 have been removed.
 */
before(async () => {
  const memory = await memoryRepository();
  repository = memory.repository;
  await putPublicKey(repository, key);
  await memory.pack('a');
  for (let i = 0; i < 90; i++) {
    if (i >= 40 && i < 44) continue;
    const finished = at(i + 0.01).toISOString();
    const totals = { files: 1, bytes: 1000 + i, received: 0, fresh: 0, stored: 6, referenced: 6 };
    await memory.commit(idOf(i, 'b'), ['a'.repeat(32)], {
      started: at(i).toISOString(),
      finished,
      totals,
      facts: { method: 'physical', startLsn: '0/1' },
    });
  }
  await runDrill(5, {});
  await runDrill(35, {
    verdict: 'failed',
    checks: [{ name: 'content', state: 'failed', detail: '2 differ', seconds: 1 }],
  });
  await runDrill(37, { issue: { findings: [], remediation: 'a new disk', retestOf: idOf(35, 'd') } });
  await runDrill(88, {});
  for (let i = 0; i < 60; i++) if (i < 40 || i >= 44) await repository.remove('db', idOf(i, 'b'));
  await assert.rejects(
    recordRun(
      {
        repository,
        database: 'db',
        kind: 'physical',
        program: 'test',
        clock: { ...systemClock, now: () => at(41) },
        progress: silentProgress,
      },
      () => Promise.reject(new HelvinoError('STORAGE_FULL', 'no space is left')),
    ),
  );
  removedReport = `evidence/reports/db/${idOf(35, 'd')}`;
  evidence = await collect();
});

async function runDrill(days: number, more: Partial<DrillReport>): Promise<void> {
  const backup = idOf(days, 'b');
  const report = testReport({
    id: idOf(days, 'd'),
    database: 'db',
    backup,
    started: at(days + 0.1).toISOString(),
    finished: at(days + 0.2).toISOString(),
    ...more,
  });
  const manifest = await repository.manifest('db', backup);
  await keepReport(report, {
    repository,
    manifest,
    key,
    cadenceSeconds: 32 * 86_400,
    progress: silentProgress,
  });
}

function collect(more: { from?: Date; to?: Date } = {}): Promise<Evidence> {
  return collectEvidence({
    repository,
    database: 'db',
    from: at(0),
    to: at(90),
    drillEvery: 32 * 86_400,
    maxAge: () => 36 * 3600,
    ...more,
  });
}

test('backups of the whole period – also those that were removed since', () => {
  const { list, kinds } = evidence.index.backups;
  assert.equal(list.length, 86);
  assert.equal(list.filter(({ removed }) => removed !== undefined).length, 56);
  assert.deepEqual([list[0]!.id, list[0]!.bytes], [idOf(0, 'b'), 1000]);
  assert.deepEqual([kinds.length, kinds[0]!.kind, kinds[0]!.count], [1, 'physical', 86]);
});

test('days without a backup – a gap, with its begin and end', () => {
  const [gap, ...more] = evidence.index.backups.kinds[0]!.gaps;
  assert.deepEqual(more, []);
  assert.deepEqual(
    [gap!.from, gap!.to, gap!.seconds],
    [at(39.01).toISOString(), at(44.01).toISOString(), 5 * 86_400],
  );
});

test('a run that failed – is told with its reason', () => {
  const [run, ...more] = evidence.index.backups.failedRuns;
  assert.deepEqual(more, []);
  assert.deepEqual(
    [run!.kind, run!.at, run!.code, run!.message],
    ['physical', at(41).toISOString(), 'STORAGE_FULL', 'no space is left'],
  );
});

test('drills – failed one with its reason, remediation and re-test; too long without a proof is a gap', () => {
  const { list, failures, gaps } = evidence.index.drills;
  assert.deepEqual(
    list.map(({ verdict, signature }) => [verdict, signature]),
    [
      ['proven', 'good'],
      ['failed', 'good'],
      ['proven', 'good'],
      ['proven', 'good'],
    ],
  );
  assert.deepEqual(failures, [
    {
      id: idOf(35, 'd'),
      verdict: 'failed',
      reasons: ['content (failed): 2 differ'],
      remediation: 'a new disk',
      retest: { id: idOf(37, 'd'), verdict: 'proven' },
      provenBy: idOf(37, 'd'),
    },
  ]);
  assert.deepEqual(
    gaps.map(({ from, to }) => [from, to]),
    [[at(37.2).toISOString(), at(88.2).toISOString()]],
  );
});

test('open points – each gap, and nothing that was settled', () => {
  const points = openPoints(evidence.index);
  assert.equal(points.length, 2, points.join('\n'));
  assert.match(points[0]!, /no proven restore for 51 d/);
  assert.match(points[1]!, /no physical backup for 5 d/);
});

test('a period that begins in a gap – is told how old the newest was', async () => {
  const { index } = await collect({ from: at(42), to: at(46) });
  assert.deepEqual(
    index.backups.list.map(({ id }) => id),
    [idOf(44, 'b'), idOf(45, 'b')],
  );
  assert.equal(index.backups.kinds[0]!.gaps.length, 1);
  assert.equal(index.backups.kinds[0]!.gaps[0]!.to, at(44.01).toISOString());
});

test('a period in which there was nothing – says so', async () => {
  const { index } = await collect({ from: at(400), to: at(410) });
  assert.match(openPoints(index).join(), /there was no drill.*there was no backup/);
});

test('pages – say what the index says', () => {
  const text = evidenceMarkdown(evidence.index, new Map([['SHA256SUMS.sig', '']]));
  for (const words of [
    /no proven restore for 51 d/,
    /a new disk/,
    /removed by retention/,
    /openssl pkeyutl/,
    /What is not in here/,
  ])
    assert.match(text, words);
});

test('the same repository, period and key – the same bytes', async () => {
  assert.deepEqual(makeBundle(await collect(), key), makeBundle(evidence, key));
});

test('a bundle – valid with the public key alone; with another key refused', () => {
  const bytes = makeBundle(evidence, key);
  const verified = verifyBundle(bytes, [other, key]);
  assert.deepEqual([verified.key.id, verified.reports.length, verified.unsigned], [key.id, 4, []]);
  assert.throws(() => verifyBundle(bytes, [other]), damaged);
  assert.throws(() => verifyBundle(makeBundle(evidence, undefined), [key]), /is not signed/);
});

const damaged = (thrown: unknown) =>
  thrown instanceof HelvinoError && ['REPOSITORY_DAMAGED', 'KEY_WRONG'].includes(thrown.code);

function unpack(bytes: Uint8Array): { path: string; content: Buffer }[] {
  const files: { path: string; content: Buffer }[] = [];
  const reader = new TarReader({
    entry: ({ path }) => files.push({ path, content: Buffer.alloc(0) }),
    data: (part) => {
      const last = files.at(-1)!;
      last.content = Buffer.concat([last.content, part]);
    },
    entryEnd: () => undefined,
  });
  reader.push(gunzipSync(bytes));
  return files;
}

test('any file in it – changed in one bit, taken out, or put in: refused', () => {
  const files = unpack(makeBundle(evidence, key));
  const pack = (changed: typeof files) => gzipSync(writeTar(changed), { level: 1 });
  assert.equal(verifyBundle(pack(files), [key]).reports.length, 4);
  for (const [i, file] of files.entries())
    assert.throws(() => verifyBundle(pack(files.toSpliced(i, 1)), [key]), damaged, `without ${file.path}`);
  const folderName = files[0]!.path.split('/')[0]!;
  for (const name of ['index.json', 'drills/more.json', 'x'])
    assert.throws(
      () =>
        verifyBundle(pack([...files, { path: `${folderName}/${name}`, content: Buffer.from('{}') }]), [key]),
      damaged,
      `with ${name}`,
    );
  fc.assert(
    fc.property(fc.nat(files.length - 1), fc.nat(), fc.integer({ min: 0, max: 7 }), (i, where, bit) => {
      const { path, content } = files[i]!;
      const changed = Buffer.from(content);
      changed[where % changed.length]! ^= 1 << bit;
      assert.throws(
        () => verifyBundle(pack(files.with(i, { path, content: changed })), [key]),
        damaged,
        path,
      );
    }),
    { numRuns: 150 },
  );
});

test('bytes of the file itself, cut or changed – never anything but a clear error, or all is as it was', () => {
  const bytes = makeBundle(evidence, key);
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), fc.boolean(), (i, bits, cut) => {
      const changed = cut ? bytes.subarray(0, i) : Buffer.from(bytes);
      if (!cut) changed[i]! ^= bits;
      try {
        // What gzip itself does not read (a time, a system) says nothing.
        assert.equal(canonicalJson(verifyBundle(changed, [key]).index), canonicalJson(evidence.index));
      } catch (thrown) {
        if (!damaged(thrown)) throw thrown;
      }
    }),
    { numRuns: 300 },
  );
});

test('a report that was taken out of the store – is missed, by the one after it', async () => {
  const stored = await repository.driver.get(removedReport);
  await repository.driver.remove(removedReport);
  const { index } = await collect();
  assert.deepEqual(index.drills.missing, [idOf(35, 'd')]);
  assert.match(openPoints(index).join(), /is named by another and is not there as it was/);
  const bytes = makeBundle(await collect(), key);
  assert.throws(() => verifyBundle(bytes, [key]), /the report .* is not in it/);
  await repository.driver.put(removedReport, [stored], { ifAbsent: true });
  assert.deepEqual((await collect()).index.drills.missing, []);
});
