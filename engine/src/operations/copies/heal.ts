/**
 * `helvino heal`: mends a damaged copy from another. Everything is read; what is damaged or missing is fetched from the other
 * copy, checked, put in its place and read back; then everything that was damaged is looked at again. Only what the damaged
 * copy itself names is brought: heal makes nothing come back that was removed there.
 */
import { HelvinoError } from '../../base/errors.ts';
import type { Progress } from '../../base/progress.ts';
import {
  checkObject,
  type Identities,
  type Repository,
  verificationsPrefix,
} from '../../repository/index.ts';
import type { StorageDriver } from '../../storage/index.ts';
import { type VerifyReport, verify } from '../verify/verify.ts';
import { damageAtSource, transferObject } from './transfer-object.ts';

export interface HealOptions {
  readonly target: Repository;
  readonly source: Repository;
  readonly database?: string;
  /** With them keys are opened, too. */
  readonly identities?: Identities;
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
  const report = await verify({ ...options, repository: options.target, readData: true });
  const found = new Map<string, string>();
  for (const { damage } of report.backups) for (const { object, why } of damage) found.set(object, why);
  for (const { object, why } of report.others) found.set(object, why);
  for await (const { object, why } of damagedKeys(options)) found.set(object, why);
  return { damage: [...found].map(([object, why]) => ({ object, why })) };
}

export async function heal(options: HealOptions, plan: HealPlan): Promise<HealReport> {
  const mended: string[] = [];
  const left = new Map<string, string>();
  const tried = new Set<string>();
  let damage = plan.damage;
  // What a damaged manifest names comes to light only once it is mended: until a round brings nothing new.
  while (damage.some(({ object }) => !tried.has(object))) {
    options.progress.phase('mending', damage.length, 'items');
    for (const { object } of damage) {
      options.signal.throwIfAborted();
      options.progress.advance(1);
      if (tried.has(object)) continue;
      tried.add(object);
      try {
        mended.push(...(await mend(options, object)));
      } catch (thrown) {
        left.set(object, damageAtSource(thrown));
      }
    }
    damage = (await planHeal(options)).damage;
  }
  for (const { object, why } of damage) if (!left.has(object)) left.set(object, why);
  return {
    mended,
    left: [...left].map(([object, why]) => ({ object, why })),
    verdict: damage.length === 0 ? 'passed' : 'failed',
  };
}

async function mend({ source, target }: HealOptions, object: string): Promise<string[]> {
  // Each copy has its own: no other can give it, and all it says is when a verification was.
  if (object.startsWith(verificationsPrefix)) {
    await target.driver.remove(object);
    return [object];
  }
  const route = { source: source.driver, target: target.driver, ring: source.ring };
  const names = await namesOf(source.driver, object);
  for (const name of names) await transferObject(route, name, { replace: true });
  return names;
}

/** What of sealed keys can be seen without an identity. */
async function* damagedKeys({ source, target }: HealOptions): AsyncGenerator<DamagedObject> {
  const { driver, ring } = target;
  // WAL needs keys that no manifest names.
  for (const kind of ['data', 'catalog'] as const) {
    const there = await target.sealedKeys(kind);
    for (const keyId of await source.sealedKeys(kind))
      if (!there.has(keyId))
        yield { object: `keys/${kind}/${keyId}`, why: 'only the other copy has this key' };
  }
  for await (const { name } of driver.list('keys/')) {
    try {
      await checkObject(name, await driver.get(name), ring);
    } catch (thrown) {
      yield { object: name, why: damageAtSource(thrown) };
    }
  }
}

/** The descriptor is what a repository is opened by: when it is damaged, it comes first. */
export async function mendDescriptor(source: Repository, target: StorageDriver): Promise<void> {
  await transferObject({ source: source.driver, target, ring: source.ring }, 'helvino.json', {
    replace: true,
  });
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
