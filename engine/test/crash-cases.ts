/** Kill -9 at the steps of a backup, a collection and a restore: what the quick and the slow suite have in common. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { markerName } from '../src/operations/restore/marker.ts';
import { type Manifest, packName } from '../src/repository/index.ts';
import { mapParallel } from '../src/streams/index.ts';
import { query } from './backup-fixture.ts';
import {
  assertNoGarbage,
  assertSameTree,
  type Case,
  type ChildWork,
  type CrashLab,
  reopen,
  runChild,
  sample,
  type Tree,
  treeOf,
} from './crash-fixture.ts';

/** A repository with two backups, and how they restore. */
export interface Template {
  readonly one: Case;
  readonly kept: readonly { readonly manifest: Manifest; readonly tree: Tree }[];
}

export async function makeTemplate(lab: CrashLab): Promise<Template> {
  const one = await lab.newCase();
  await query(
    lab.server,
    'drop table if exists t',
    'create table t as select i, md5(i::text) from generate_series(1, 20000) i',
  );
  const full = await one.backup();
  await query(lab.server, 'update t set i = -i where i % 1000 = 0', 'checkpoint');
  const incremental = await one.backup({ kind: 'incremental' });
  await query(lab.server, 'insert into t select i, md5(i::text) from generate_series(1, 5000) i');
  const kept = [];
  for (const manifest of [full, incremental]) kept.push({ manifest, tree: await one.restoredTree(manifest) });
  return { one, kept };
}

/** The same with garbage: a backup that was removed and one that did not commit. */
export async function makeGarbageTemplate(lab: CrashLab): Promise<Template> {
  const template = await makeTemplate(lab);
  const removed = await template.one.backup({ kind: 'full' });
  await template.one.repository.remove('main', removed.id);
  const died = await runChild(
    template.one,
    { action: 'backup' },
    {
      plan: { calls: [{ on: 'put', prefix: 'backups/', nth: 1, kill: 'before' }] },
    },
  );
  assert.equal(died.signal, 'SIGKILL');
  return template;
}

/**
 * Dies at steps of the store, each time on a fresh copy: at every step, or at `most` of them of which each kind of step has
 * one. Returns the kinds of step it died at.
 */
export async function crashStore(
  lab: CrashLab,
  template: Template,
  { most, ...work }: Pick<ChildWork, 'read'> & { action: 'backup' | 'collect'; most: number },
): Promise<Set<string>> {
  const whole = await lab.copyOf(template.one);
  const { outcome, points } = await runChild(whole, work);
  assert.equal(outcome, 'ok');
  await assertSound(whole, template, `${work.action} without a crash`);
  const hit = new Set<string>();
  await inPairs(chosenSteps(points, most), async (nth) => {
    const one = await lab.copyOf(template.one);
    const crash = await runChild(one, work, { plan: { points: [{ nth, kill: true }] } });
    // How many packs there are is not the same in each run.
    if (crash.signal === null)
      assert.ok(nth > points.length - 20, `no crash at step ${nth}: ${crash.outcome}`);
    else hit.add(points[nth - 1]!);
    await assertSound(one, template, `${work.action} killed at step ${nth} (${points[nth - 1]})`);
    await rm(one.root, { recursive: true });
  });
  return hit;
}

/** Dies just before and just after a backup stores what makes it one, and what the ledger knows of it. */
export async function crashCommit(lab: CrashLab, template: Template): Promise<void> {
  for (const prefix of ['backups/', 'ledger/'])
    for (const kill of ['before', 'after'] as const) {
      const one = await lab.copyOf(template.one);
      const crash = await runChild(
        one,
        { action: 'backup' },
        { plan: { calls: [{ on: 'put', prefix, nth: 1, kill }] } },
      );
      assert.equal(crash.signal, 'SIGKILL', `${kill} ${prefix}: ${crash.outcome}`);
      const there = (await (await reopen(one)).repository.backups()).length;
      assert.equal(there - template.kept.length, prefix === 'backups/' && kill === 'before' ? 0 : 1);
      await assertSound(one, template, `killed ${kill} the put of ${prefix}`);
      await rm(one.root, { recursive: true });
    }
}

/** One of each kind, the middle one; then others evenly, as far as there is room. */
export function chosenSteps(points: readonly string[], most: number): number[] {
  const kinds = [...new Set(points)].map((kind) => {
    const places = points.flatMap((point, i) => (point === kind ? [i + 1] : []));
    return places[Math.floor(places.length / 2)]!;
  });
  const others = most > kinds.length ? sample(points.length, most - kinds.length) : [];
  return [...new Set([...kinds, ...others])].sort((a, b) => a - b);
}

/** What must hold after a crash: nothing lost, nothing wrong, work goes on, garbage goes away. */
async function assertSound(crashed: Case, { one: original, kept }: Template, where: string): Promise<void> {
  const one = await reopen(crashed);
  const report = await one.verify();
  assert.deepEqual(
    [report.verdict, report.depth],
    ['passed', 'every byte'],
    `${where}: ${JSON.stringify(report)}`,
  );
  // The objects of the kept backups are as they were; one of them is restored in full to show it.
  const before = await one.repository.backups();
  assert.ok(before.length === kept.length || before.length === kept.length + 1, where);
  assert.deepEqual(await missingObjects(one, original), [], where);
  const { manifest, tree } = kept[++turn % kept.length]!;
  assertSameTree(await one.restoredTree(manifest), tree, `${where}: backup ${manifest.id}`);
  const next = await one.backup();
  assert.equal(next.kind, 'incremental', where);
  await one.collect();
  await assertNoGarbage(one, where);
  const after = await one.verify();
  assert.deepEqual([after.verdict, after.backups.length], ['passed', before.length + 1], where);
}

/** Takes the kept backups in turn. */
let turn = 0;

/** Names of what the kept backups need that is not there or not as it was. */
async function missingObjects(one: Case, original: Case): Promise<string[]> {
  const needed = new Set<string>();
  for (const { database, id } of await original.repository.backups()) {
    const { packs } = await original.repository.manifest(database, id);
    for (const { id: pack } of packs) needed.add(packName(pack));
    for (const kind of ['backups', 'ledger']) needed.add(`${kind}/${database}/${id}`);
  }
  for (const name of await original.names('keys/')) needed.add(name);
  const missing: string[] = [];
  for (const name of needed) {
    const [now, then] = await Promise.all(
      [one, original].map((o) => readFile(join(o.root, name)).catch(() => undefined)),
    );
    if (!then || !now?.equals(then)) missing.push(name);
  }
  return missing;
}

const preload = fileURLToPath(new URL('./crash-preload.ts', import.meta.url));

/** Dies at up to `most` steps of a restore, and so many at either of its `ends` (files written, renamed, removed, flushed …), then runs the restore again. */
export async function crashRestore(
  lab: CrashLab,
  template: Template,
  { most, ends, delta = false }: { most: number; ends: number; delta?: boolean },
): Promise<Set<string>> {
  const [first, last] = [template.kept[0]!, template.kept.at(-1)!];
  const { one } = template;
  const attempt = async (directory: string, killAt: number, trace: string) => {
    const env = {
      HELVINO_TEST_TRACE: trace,
      HELVINO_TEST_KILL_AT: String(killAt),
      HELVINO_TEST_BELOW: directory,
    };
    const work = { action: 'restore' as const, backupId: last.manifest.id, directory, delta };
    return runChild(one, work, { env, nodeArgs: ['--import', preload] });
  };
  const prepared = async () => {
    const directory = await mkdtemp(join(lab.home, 'target-'));
    if (delta) await one.restore(first.manifest, directory);
    return directory;
  };
  const trace = join(lab.home, `trace-${delta}`);
  const directory = await prepared();
  assert.equal((await attempt(directory, 0, trace)).outcome, 'ok');
  assertSameTree(treeOf(directory), last.tree, 'restore without a crash');
  const steps = (await readFile(trace, 'utf8')).trimEnd().split('\n');
  const hit = new Set<string>();
  // The first steps make the marker, the last the control file: each of them counts.
  const both = Array.from({ length: ends }, (_, i) => i + 1).flatMap((n) => [n, steps.length + 1 - n]);
  await inPairs([...new Set([...both, ...sample(steps.length, most)])], async (nth) => {
    const where = `restore killed at step ${nth} of ${steps.length}`;
    const target = await prepared();
    const own = `${target}-trace`;
    const crash = await attempt(target, nth, own);
    const died = (await readFile(own, 'utf8')).trimEnd().split('\n')[nth - 1]!;
    if (crash.signal === null) assert.ok(nth > steps.length - 50, `${where}: no crash: ${crash.outcome}`);
    else hit.add(died.split(' ')[0]!);
    const half = treeOf(target);
    if (
      half.has('global/pg_control') &&
      half.get('global/pg_control') !== first.tree.get('global/pg_control')
    ) {
      assertSameTree(without(half, markerName), last.tree, `${where} (${died}): startable, so whole`);
    }
    // Without the marker it had come to its end.
    if (!delta && half.has('global/pg_control') && !half.has(markerName)) return;
    await one.restore(last.manifest, target, { delta });
    assertSameTree(treeOf(target), last.tree, `${where} (${died}), and run again`);
    await rm(target, { recursive: true });
  });
  return hit;
}

function without(tree: Tree, path: string): Tree {
  return new Map([...tree].filter(([name]) => name !== path));
}

export async function inPairs(
  numbers: readonly number[],
  work: (nth: number) => Promise<void>,
): Promise<void> {
  for await (const _ of mapParallel(numbers, 2, work));
}
