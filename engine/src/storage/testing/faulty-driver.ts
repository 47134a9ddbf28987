/**
 * Faults on purpose, for tests: a driver that counts its calls and fails, kills the process, waits, or lies at chosen
 * ones, and hooks that do the same at the single steps of the file system driver (fs-hooks.ts).
 */
import { systemClock } from '../../base/clock.ts';
import { type ErrorCode, errorCodes } from '../../base/error-codes.ts';
import { HelvinoError } from '../../base/errors.ts';
import type { StorageDriver } from '../driver.ts';
import type { FsHooks, FsPoint } from '../fs-hooks.ts';

export interface FaultPlan {
  readonly calls?: readonly CallFault[];
  readonly points?: readonly PointFault[];
}

type Operation = 'put' | 'get' | 'head' | 'list' | 'remove' | 'extendRetention' | 'now';

interface When {
  /** The first that is hit, counted from 1 over what matches. */
  readonly nth: number;
  /** How many in a row are hit. Default 1. */
  readonly times?: number;
}

export interface CallFault extends When {
  /** Which calls count; `write` is put and remove. */
  readonly on: Operation | 'write' | 'any';
  /** Only calls on names (for `list`: prefixes) that begin so. */
  readonly prefix?: string;
  /** What happens. `after` the call: its effect is there, but the caller never hears of it. */
  readonly kill?: 'before' | 'after';
  readonly error?: ErrorCode;
  /** When `error` is thrown. Default `before`. */
  readonly errorWhen?: 'before' | 'after';
  readonly delayMs?: number;
  /** `get` returns so many bytes too few, and says nothing. */
  readonly cutBytes?: number;
  /** This bit of what `get` returns, or of what `put` stores, is flipped. */
  readonly flipBit?: number;
}

export interface PointFault extends When {
  /** Default: every point counts. */
  readonly point?: FsPoint;
  readonly kill?: true;
  /** Thrown as a system error: `ENOSPC`, `EIO` … */
  readonly errno?: string;
}

export interface FaultyDriver extends StorageDriver {
  /** Calls so far, and how many of them were put or remove. A run without faults says how many faults there can be. */
  readonly counts: { readonly calls: number; readonly writes: number };
}

export interface CountingHooks extends FsHooks {
  /** Every point so far, in order. */
  readonly seen: readonly FsPoint[];
}

const variable = 'HELVINO_TEST_FAULTS';

/** How a test hands a plan to a child process. */
export function faultPlanToEnv(plan: FaultPlan): Record<string, string> {
  return { [variable]: JSON.stringify(plan) };
}

/** Only test harnesses call this: no production code knows the variable. */
export function faultPlanFromEnv(env: Readonly<Record<string, string | undefined>>): FaultPlan | undefined {
  const text = env[variable];
  if (text === undefined) return undefined;
  const plan = JSON.parse(text) as FaultPlan;
  for (const fault of [...(plan.calls ?? []), ...(plan.points ?? [])]) {
    if (!Number.isInteger(fault.nth) || fault.nth < 1)
      throw new RangeError(`${variable}: nth is ${fault.nth}`);
    if ('error' in fault && !(String(fault.error) in errorCodes))
      throw new RangeError(`${variable}: ${fault.error}`);
  }
  return plan;
}

export function faultHooks(plan: FaultPlan): CountingHooks {
  const seen: FsPoint[] = [];
  const counter = countHits(plan.points ?? []);
  return {
    seen,
    async point(name) {
      seen.push(name);
      for (const fault of counter((one) => one.point === undefined || one.point === name)) {
        if (fault.kill) await killThisProcess();
        if (fault.errno !== undefined)
          throw Object.assign(new Error(`${fault.errno}: at ${name}, on purpose`), { code: fault.errno });
      }
    },
  };
}

export function withFaults(driver: StorageDriver, plan: FaultPlan): FaultyDriver {
  const counts = { calls: 0, writes: 0 };
  const counter = countHits(plan.calls ?? []);
  const hits = (operation: Operation, name: string) => {
    const isWrite = operation === 'put' || operation === 'remove';
    counts.calls++;
    if (isWrite) counts.writes++;
    return counter(({ on, prefix = '' }) => {
      return (on === 'any' || on === operation || (on === 'write' && isWrite)) && name.startsWith(prefix);
    });
  };
  const around = async <Result>(faults: readonly CallFault[], name: string, work: () => Promise<Result>) => {
    for (const fault of faults) await strike(fault, 'before', name);
    const result = await work();
    for (const fault of faults) await strike(fault, 'after', name);
    return result;
  };
  const plain = <Result>(operation: Operation, name: string, work: () => Promise<Result>) =>
    around(hits(operation, name), name, work);

  return {
    counts,
    capabilities: driver.capabilities,
    put: (name, body, how) => {
      const faults = hits('put', name);
      return around(faults, name, () => driver.put(name, damagedBody(faults, body), how));
    },
    get: (name, range, into) => {
      const faults = hits('get', name);
      return around(faults, name, async () => damagedResult(faults, await driver.get(name, range, into)));
    },
    head: (name) => plain('head', name, () => driver.head(name)),
    remove: (name) => plain('remove', name, () => driver.remove(name)),
    extendRetention: (name, until) =>
      plain('extendRetention', name, () => driver.extendRetention(name, until)),
    now: () => plain('now', '', () => driver.now()),
    close: () => driver.close(),
    async *list(prefix) {
      const faults = hits('list', prefix);
      for (const fault of faults) await strike(fault, 'before', prefix);
      // `after`: the list breaks behind its first object.
      for await (const object of driver.list(prefix)) {
        yield object;
        for (const fault of faults) await strike(fault, 'after', prefix);
      }
    },
  };
}

/** A function that counts a call for every fault that it matches, and returns those that are due. */
function countHits<Fault extends When>(
  faults: readonly Fault[],
): (matches: (fault: Fault) => boolean) => Fault[] {
  const seen = faults.map(() => 0);
  return (matches) =>
    faults.filter((fault, at) => {
      if (!matches(fault)) return false;
      const count = ++seen[at]!;
      return count >= fault.nth && count < fault.nth + (fault.times ?? 1);
    });
}

async function strike(fault: CallFault, when: 'before' | 'after', name: string): Promise<void> {
  if (when === 'before' && fault.delayMs !== undefined) await systemClock.sleep(fault.delayMs);
  if (fault.kill === when) await killThisProcess();
  if (fault.error === undefined || when !== (fault.errorWhen ?? 'before')) return;
  throw new HelvinoError(fault.error, `${name}: ${fault.error} on purpose, ${when} the call`, {
    hint: 'a test wants this',
  });
}

/** As a power cut for this process: no handler runs, nothing is flushed. Never resolves. */
async function killThisProcess(): Promise<never> {
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => undefined);
}

function damagedBody(faults: readonly CallFault[], body: readonly Uint8Array[]): readonly Uint8Array[] {
  const bit = faults.find((fault) => fault.flipBit !== undefined)?.flipBit;
  if (bit === undefined) return body;
  // A copy: the caller's own bytes stay good.
  const bytes = Buffer.concat(body);
  flip(bytes, bit);
  return [bytes];
}

function damagedResult(faults: readonly CallFault[], bytes: Uint8Array): Uint8Array {
  let result = bytes;
  for (const { cutBytes, flipBit } of faults) {
    if (flipBit !== undefined) flip(result, flipBit);
    if (cutBytes !== undefined) result = result.subarray(0, Math.max(0, result.length - cutBytes));
  }
  return result;
}

function flip(bytes: Uint8Array, bit: number): void {
  if (bytes.length > 0) bytes[Math.floor(bit / 8) % bytes.length]! ^= 1 << (bit % 8);
}
