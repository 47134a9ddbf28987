/** Kill -9 at the steps of `retention apply`: backups, WAL, proofs and packs go, and what is kept stays whole. */
import assert from 'node:assert/strict';
import { readFile, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../src/base/clock.ts';
import { backupFacts } from '../src/catalog/index.ts';
import { parseLsn, walSegmentBegin } from '../src/postgres/index.ts';
import { logPieceName, type Manifest, packName, putLogPiece } from '../src/repository/index.ts';
import { query } from './backup-fixture.ts';
import { chosenSteps, inPairs } from './crash-cases.ts';
import {
  assertNoGarbage,
  assertSameTree,
  type Case,
  type CrashLab,
  reopen,
  runChild,
  type Tree,
} from './crash-fixture.ts';

interface Aged {
  readonly one: Case;
  readonly kept: readonly { readonly manifest: Manifest; readonly tree: Tree }[];
  /** Objects that every state must have, as they were. */
  readonly needed: ReadonlyMap<string, Buffer>;
}

const ages = [60, 40, 20, 10, 1, 0];
/** Of the ages: the newest two, and the newest from before the window of 14 days. */
const keptAges = [20, 1, 0];
const segment = 1 << 20;

export async function crashRetention(lab: CrashLab, { most }: { most: number }): Promise<Set<string>> {
  const template = await agedTemplate(lab);
  const whole = await lab.copyOf(template.one);
  const { outcome, points } = await runChild(whole, { action: 'retain' });
  assert.equal(outcome, 'ok');
  await assertDone(whole, template, 'without a crash');
  const hit = new Set<string>();
  await inPairs(chosenSteps(points, most), async (nth) => {
    const where = `retention killed at step ${nth} (${points[nth - 1]})`;
    const one = await lab.copyOf(template.one);
    const crash = await runChild(one, { action: 'retain' }, { plan: { points: [{ nth, kill: true }] } });
    assert.equal(crash.signal, 'SIGKILL', `${where}: no crash: ${crash.outcome}`);
    hit.add(points[nth - 1]!);
    await assertWhole(one, template, where);
    await (await reopen(one)).retain();
    await assertDone(one, template, `${where}, and run again`);
    await rm(one.root, { recursive: true });
  });
  return hit;
}

/** Backups of all ages that share packs, proofs of two of them, and WAL over all of it. */
async function agedTemplate(lab: CrashLab): Promise<Aged> {
  const one = await lab.newCase();
  await query(
    lab.server,
    'drop table if exists t',
    'create table t as select i, md5(i::text) from generate_series(1, 20000) i',
  );
  const manifests: Manifest[] = [];
  for (const age of ages) {
    await query(lab.server, 'update t set i = -i where i % 500 = 0', 'select pg_switch_wal()', 'checkpoint');
    const now = () => new Date(Date.now() - age * 86_400_000);
    const manifest = await one.backup({ clock: { ...systemClock, now } });
    const at = new Date(manifest.finished);
    await utimes(join(one.root, 'backups/main', manifest.id), at, at);
    manifests.push(manifest);
  }
  for (const i of [0, 2])
    await one.repository.putProof(manifests[i]!.id, 'drill', { verdict: 'partly proven' });
  const kept = keptAges.map((age) => manifests[ages.indexOf(age)]!);
  const pieces = await putLog(one, manifests);
  const from = beginOf(kept[0]!);
  const needed = new Map<string, Buffer>();
  const names = [
    ...kept.flatMap(({ id, packs }) => [
      `backups/main/${id}`,
      `ledger/main/${id}`,
      ...Array.from(packs, (pack) => packName(pack.id)),
    ]),
    ...(await one.names('keys/')),
    ...pieces.filter(({ begin }) => begin >= from).map(({ name }) => name),
    `proofs/${kept[0]!.id}/drill`,
  ];
  for (const name of names) needed.set(name, await readFile(join(one.root, name)));
  const trees = [];
  for (const manifest of kept) trees.push({ manifest, tree: await one.restoredTree(manifest) });
  return { one, kept: trees, needed };
}

function beginOf(manifest: Manifest): bigint {
  const { walEnd, walSegmentSize } = backupFacts(manifest);
  return walSegmentBegin(parseLsn(walEnd), walSegmentSize);
}

/** A piece a segment, as old as the backup that it is before. */
async function putLog(one: Case, manifests: readonly Manifest[]): Promise<{ name: string; begin: bigint }[]> {
  const { driver, ring } = one.repository;
  const pieces: { name: string; begin: bigint }[] = [];
  let begin = beginOf(manifests[0]!) - BigInt(segment);
  for (const manifest of manifests) {
    for (; begin <= beginOf(manifest); begin += BigInt(segment)) {
      const name = logPieceName('main', { line: 1, begin, end: begin + BigInt(segment) });
      await putLogPiece(driver, name, Buffer.alloc(segment), {
        ring,
        dataKey: Buffer.alloc(32, 7),
        dataKeyId: manifests[0]!.keys[0]!,
      });
      const at = new Date(manifest.finished);
      await utimes(join(one.root, name), at, at);
      pieces.push({ name, begin });
    }
  }
  return pieces;
}

/** Takes the kept backups in turn. */
let turn = 0;

/** Nothing that is kept has changed, and one of the kept backups restores to the byte. */
async function assertWhole(crashed: Case, { kept, needed }: Aged, where: string): Promise<void> {
  const one = await reopen(crashed);
  for (const [name, bytes] of needed) {
    const now = await readFile(join(one.root, name)).catch(() => undefined);
    assert.ok(now?.equals(bytes), `${where}: ${name}`);
  }
  const report = await one.verify({ identities: undefined });
  assert.deepEqual([report.verdict, report.others], ['passed', []], `${where}: ${JSON.stringify(report)}`);
  const { manifest, tree } = kept[++turn % kept.length]!;
  assertSameTree(await one.restoredTree(manifest), tree, `${where}: backup ${manifest.id}`);
}

/** Exactly what is to be kept is there. */
async function assertDone(done: Case, template: Aged, where: string): Promise<void> {
  await assertWhole(done, template, where);
  const one = await reopen(done);
  const ids = (await one.repository.backups()).map(({ id }) => id);
  assert.deepEqual(
    ids,
    template.kept.map(({ manifest }) => manifest.id),
    where,
  );
  const log = [...template.needed.keys()].filter((name) => name.startsWith('wal/')).sort();
  assert.deepEqual(await one.names('wal/'), log, where);
  assert.deepEqual((await one.names('proofs/')).length, 1, where);
  await assertNoGarbage(one, where);
}
