/**
 * `helvino heal`: mends a damaged copy from another. Everything is read; what is damaged or missing is fetched from the other
 * copy, checked, put in its place and read back; then everything that was damaged is looked at again. Only what the damaged
 * copy itself names is brought: heal makes nothing come back that was removed there.
 */
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import type { Repository } from '../../repository/index.ts';
import type { StorageDriver } from '../../storage/index.ts';
import { type VerifyReport, verify } from '../verify/verify.ts';
import { damageAtSource, transferObject } from './transfer-object.ts';

export interface HealOptions {
  readonly target: Repository;
  readonly source: Repository;
  readonly database?: string;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

export interface HealPlan {
  readonly damage: readonly DamagedObject[];
}

interface DamagedObject {
  readonly object: string;
  readonly why: string;
}

export interface HealReport {
  readonly mended: readonly string[];
  /** What the other copy could not give. */
  readonly left: readonly DamagedObject[];
  /** After it: `passed` when nothing is damaged any more. */
  readonly verdict: VerifyReport['verdict'];
}

export async function planHeal(options: HealOptions): Promise<HealPlan> {
  if (options.source.id !== options.target.id)
    throw new HelvinoError('CONFIG_INVALID', 'the two are different repositories, not copies of one', {
      hint: 'check `copies` in helvino.yaml',
    });
  const report = await check(options);
  const found = new Map<string, string>();
  for (const { damage } of report.backups) for (const { object, why } of damage) found.set(object, why);
  for (const { object, why } of report.others) found.set(object, why);
  return { damage: [...found].map(([object, why]) => ({ object, why })) };
}

export async function heal(options: HealOptions, plan: HealPlan): Promise<HealReport> {
  const { source, target, progress, signal } = options;
  const route = { source: source.driver, target: target.driver, ring: source.ring };
  const mended: string[] = [];
  const left: DamagedObject[] = [];
  progress.phase('mending', plan.damage.length, 'items');
  for (const { object } of plan.damage) {
    signal.throwIfAborted();
    try {
      const names = await namesOf(source.driver, object);
      for (const name of names) await transferObject(route, name, { replace: true });
      mended.push(...names);
    } catch (thrown) {
      left.push({ object, why: damageAtSource(thrown) });
    }
    progress.advance(1);
  }
  // A manifest that was damaged may name what is damaged, too: another round finds it.
  return { mended, left, verdict: (await check(options)).verdict };
}

function check(options: HealOptions): Promise<VerifyReport> {
  return verify({ ...options, repository: options.target, readData: true });
}

/** Keys are reported by key; each has an object for every set of recipients. */
async function namesOf(source: StorageDriver, object: string): Promise<string[]> {
  if (!/^keys\/(data|catalog)\/[0-9a-f]+$/.test(object)) return [object];
  const names: string[] = [];
  for await (const { name } of source.list(`${object}/`)) names.push(name);
  if (names.length > 0) return names;
  throw new HelvinoError('STORAGE_NOT_FOUND', `${object} is missing in the other copy, too`, {
    context: { object },
  });
}
