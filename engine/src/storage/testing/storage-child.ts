/**
 * A process of its own that works on a store, for tests that kill it or take its rights away.
 * Arguments: the root, and the steps as JSON: `["put", name, content]`, `["replace", name, content]`, `["get", name]`,
 * `["remove", name]`, `["now"]`. Prints JSON: `{ outcomes: ["ok" | content | error code], points }`. Faults come from the
 * environment (faultPlanToEnv).
 */
import { HelvinoError } from '../../base/errors.ts';
import type { StorageDriver } from '../driver.ts';
import { openFsDriver } from '../fs-driver.ts';
import { faultHooks, faultPlanFromEnv, withFaults } from './faulty-driver.ts';

export type ChildStep = readonly [
  action: 'put' | 'replace' | 'get' | 'remove' | 'now',
  name?: string,
  content?: string,
];

async function take(driver: StorageDriver, [action, name = '', content = '']: ChildStep): Promise<string> {
  const bytes = Buffer.from(content);
  const half = bytes.length >> 1;
  const body = [bytes.subarray(0, half), bytes.subarray(half)];
  if (action === 'get') return Buffer.from(await driver.get(name)).toString();
  if (action === 'remove') await driver.remove(name);
  else if (action === 'now') await driver.now();
  else await driver.put(name, body, { ifAbsent: action === 'put' });
  return 'ok';
}

const [root = '', steps = '[]'] = process.argv.slice(2);
const plan = faultPlanFromEnv(process.env) ?? {};
const hooks = faultHooks(plan);
const outcomes: string[] = [];
try {
  const driver = withFaults(await openFsDriver({ root, hooks }), plan);
  for (const step of JSON.parse(steps) as ChildStep[]) {
    outcomes.push(await take(driver, step).catch((thrown: HelvinoError) => thrown.code));
  }
} catch (thrown) {
  outcomes.push(thrown instanceof HelvinoError ? thrown.code : String(thrown));
}
process.stdout.write(JSON.stringify({ outcomes, points: hooks.seen }));
