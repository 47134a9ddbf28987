import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fsPoints } from './fs-hooks.ts';
import { openFsDriver } from './index.ts';
import { namesOf } from './testing/contract-tools.ts';
import { faultHooks, type PointFault } from './testing/faulty-driver.ts';
import { runStorageChild } from './testing/run-storage-child.ts';
import type { ChildStep } from './testing/storage-child.ts';
import { inFolder } from './testing/temporary-folder.ts';

const contents = {
  one: '1'.repeat(7001),
  two: '2'.repeat(9003),
  three: '3'.repeat(5000),
  four: '4'.repeat(6000),
};
const steps: readonly ChildStep[] = [
  ['put', 'd/e/one', contents.one],
  ['put', 'd/e/two', contents.two],
  ['put', 'f', contents.three],
  ['replace', 'f', contents.four],
  ['remove', 'd/e/one'],
  ['remove', 'd/e/two'],
  ['put', 'd/last', contents.one],
];
/** The store before each step and after the last. */
const states: readonly Record<string, string>[] = [
  {},
  { 'd/e/one': contents.one },
  { 'd/e/one': contents.one, 'd/e/two': contents.two },
  { 'd/e/one': contents.one, 'd/e/two': contents.two, f: contents.three },
  { 'd/e/one': contents.one, 'd/e/two': contents.two, f: contents.four },
  { 'd/e/two': contents.two, f: contents.four },
  { f: contents.four },
  { 'd/last': contents.one, f: contents.four },
];
const hit = new Set<string>();
const noLinks: PointFault = { point: 'put.link', nth: 1, times: 1000, errno: 'EPERM' };

const kinds: readonly (readonly [
  kind: string,
  faults: readonly PointFault[],
  only: readonly string[] | undefined,
])[] = [
  ['with hard links', [], undefined],
  // Only where it differs.
  ['without hard links', [noLinks], ['put.link', 'put.claim', 'put.rename', 'put.unlink']],
];

describe('kill -9 at every step of the file system driver', { concurrency: 2 }, () => {
  for (const [kind, faults, only] of kinds) {
    test(`${kind} – the store is as before or after the step, whole, and works on`, async () => {
      const points = await inFolder((folder) => runWhole(newStore(folder), faults));
      for (let nth = 1; nth <= points.length; nth++) {
        if (only !== undefined && !only.includes(points[nth - 1]!)) continue;
        hit.add(points[nth - 1]!);
        await inFolder((folder) =>
          crashAndLook({ root: newStore(folder), faults, nth, point: points[nth - 1]! }),
        );
      }
    });
  }
  after(() =>
    assert.deepEqual(
      [...fsPoints].filter((point) => !hit.has(point)),
      [],
      'every point was a crash',
    ),
  );
});

async function runWhole(root: string, faults: readonly PointFault[]): Promise<readonly string[]> {
  const whole = await runStorageChild({ root, steps, plan: { points: faults } });
  assert.deepEqual(
    whole.outcomes,
    steps.map(() => 'ok'),
  );
  assert.deepEqual(await stored(root), states.at(-1));
  return whole.points;
}

interface Crash {
  readonly root: string;
  readonly faults: readonly PointFault[];
  readonly nth: number;
  readonly point: string;
}

async function crashAndLook({ root, faults, nth, point }: Crash): Promise<void> {
  const crash = await runStorageChild({ root, steps, plan: { points: [{ nth, kill: true }, ...faults] } });
  const where = `crash at step ${nth}, ${point}`;
  assert.equal(crash.signal, 'SIGKILL', where);
  const found = await stored(root);
  const state = states.findLastIndex((one) => isSame(one, found));
  assert.ok(state >= 0, `${where}: the store holds ${JSON.stringify(sizes(found))}, which no step leaves`);
  if (nth > 1)
    assert.deepEqual(await readdir(join(root, '.tmp')).catch(() => []), [], `${where}: leftovers swept`);
  const driver = await openFsDriver({ root, hooks: faultHooks({ points: faults }) });
  for (const [action, name = '', content = ''] of steps.slice(state)) {
    if (action === 'remove') await driver.remove(name);
    else await driver.put(name, [Buffer.from(content)], { ifAbsent: action === 'put' });
  }
  assert.ok(isSame(await stored(root), states.at(-1)!), where);
}

function isSame(one: Record<string, string>, other: Record<string, string>): boolean {
  return JSON.stringify(Object.entries(one).sort()) === JSON.stringify(Object.entries(other).sort());
}

function sizes(state: Record<string, string>): Record<string, number> {
  return Object.fromEntries(Object.entries(state).map(([name, content]) => [name, content.length]));
}

async function stored(root: string): Promise<Record<string, string>> {
  const driver = await openFsDriver({ root });
  const found: Record<string, string> = {};
  for (const name of await namesOf(driver, '')) found[name] = Buffer.from(await driver.get(name)).toString();
  return found;
}

/** It does not exist yet, nor does the folder that it is in. */
function newStore(folder: string): string {
  return join(folder, 'new', 'store');
}
