/** Trying again what may succeed later, for any driver. */
import type { Clock } from '../base/clock.ts';
import { HelvinoError } from '../base/errors.ts';
import { randomHex } from '../base/ids.ts';
import type { ObjectFacts, PutOptions, StorageDriver } from './driver.ts';

export interface RetryOptions {
  /** How often a call is tried in all, at least 1. */
  readonly attempts: number;
  /** Pause after the first failure; doubled after each further one, up to a minute; spread by up to a half. */
  readonly baseMs: number;
  readonly clock: Clock;
  /** Told before each pause, for logs and metrics. */
  readonly onRetry?: (retry: RetryFacts) => void;
}

export interface RetryFacts {
  /** `put`, `get` … */
  readonly operation: string;
  /** Object or prefix. */
  readonly name: string;
  /** Of the try that failed, from 1. */
  readonly attempt: number;
  readonly pauseMs: number;
  readonly error: HelvinoError;
}

const longestPauseMs = 60_000;
const comparedAtOnce = 4 << 20;

/**
 * Repeats calls that fail with an error whose code says that trying again can help, except STORAGE_FULL: space does not
 * come back within seconds, and each try would write all bytes again to a disk that others need as well.
 *
 * A put whose answer got lost may have stored the object; the next try then meets STORAGE_EXISTS. So after a failure an
 * existing object counts as ours if it has our bytes. A list that breaks is continued after the last object yielded.
 */
export function withRetry(driver: StorageDriver, options: RetryOptions): StorageDriver {
  const retry = <Result>(operation: string, name: string, work: (attempt: number) => Promise<Result>) =>
    repeat(options, { operation, name }, work);

  return {
    capabilities: driver.capabilities,
    put: (name, body, how) => retry('put', name, (attempt) => putAgain(driver, { name, body, how, attempt })),
    get: (name, range, into) => retry('get', name, () => driver.get(name, range, into)),
    head: (name) => retry('head', name, () => driver.head(name)),
    remove: (name) => retry('remove', name, () => driver.remove(name)),
    extendRetention: (name, until) =>
      retry('extend retention', name, () => driver.extendRetention(name, until)),
    now: () => retry('now', '', () => driver.now()),
    close: () => driver.close(),
    list: (prefix) => listAgain(driver, prefix, options),
  };
}

async function repeat<Result>(
  options: RetryOptions,
  call: { operation: string; name: string },
  work: (attempt: number) => Promise<Result>,
): Promise<Result> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work(attempt);
    } catch (thrown) {
      if (!mayHelp(thrown) || attempt >= options.attempts) throw thrown;
      await pause(options, { ...call, attempt, error: thrown });
    }
  }
}

async function pause(options: RetryOptions, failure: Omit<RetryFacts, 'pauseMs'>): Promise<void> {
  const longest = Math.min(longestPauseMs, options.baseMs * 2 ** (failure.attempt - 1));
  // Spread, so that many clients of a store that was away do not all come back at once.
  const pauseMs = longest * (0.5 + Number.parseInt(randomHex(2), 16) / 0x20000);
  options.onRetry?.({ ...failure, pauseMs });
  await options.clock.sleep(pauseMs);
}

function mayHelp(thrown: unknown): thrown is HelvinoError {
  return thrown instanceof HelvinoError && thrown.retry && thrown.code !== 'STORAGE_FULL';
}

interface Put {
  readonly name: string;
  readonly body: readonly Uint8Array[];
  readonly how: PutOptions;
  readonly attempt: number;
}

async function putAgain(driver: StorageDriver, { name, body, how, attempt }: Put): Promise<void> {
  try {
    await driver.put(name, body, how);
  } catch (thrown) {
    const exists = thrown instanceof HelvinoError && thrown.code === 'STORAGE_EXISTS';
    if (attempt > 1 && exists && (await hasBytes(driver, name, body))) return;
    throw thrown;
  }
}

/** Whether the object consists of exactly these bytes. Reads it in parts: memory stays bounded. */
async function hasBytes(driver: StorageDriver, name: string, body: readonly Uint8Array[]): Promise<boolean> {
  const size = body.reduce((sum, piece) => sum + piece.length, 0);
  if ((await driver.head(name))?.size !== size) return false;
  const buffer = Buffer.allocUnsafeSlow(Math.min(size, comparedAtOnce));
  let at = 0;
  for (const piece of body) {
    for (let begin = 0; begin < piece.length; begin += buffer.length) {
      const meant = piece.subarray(begin, begin + buffer.length);
      const stored = await driver.get(name, { offset: at, length: meant.length }, buffer);
      if (Buffer.compare(stored, meant) !== 0) return false;
      at += meant.length;
    }
  }
  return true;
}

async function* listAgain(
  driver: StorageDriver,
  prefix: string,
  options: RetryOptions,
): AsyncGenerator<ObjectFacts, void, void> {
  let last: string | undefined;
  for (let attempt = 1; ; attempt++) {
    try {
      for await (const object of driver.list(prefix)) {
        if (last !== undefined && object.name <= last) continue;
        attempt = 1;
        last = object.name;
        yield object;
      }
      return;
    } catch (thrown) {
      if (!mayHelp(thrown) || attempt >= options.attempts) throw thrown;
      await pause(options, { operation: 'list', name: prefix, attempt, error: thrown });
    }
  }
}
