/**
 * Leases: a run says that it is alive and which backups it builds on. Each renewal is a new object
 * `leases/<run>/<n>`; the newest counts, its age by the store's clock. Nothing is overwritten.
 *
 * Two rules keep collection and backups apart (see collect.ts):
 * - a backup that is named in a live lease is not removed;
 * - a pack marked as garbage while a lease was live is not removed before that lease has ended, and a backup that began
 *   after the mark does not use the pack.
 */
import type { Clock } from '../base/clock.ts';
import { HelvinoError } from '../base/errors.ts';
import { randomHex } from '../base/ids.ts';
import type { StorageDriver } from '../storage/index.ts';
import { type Holder, isDead, thisProcess } from './holder.ts';
import { leasesPrefix } from './layout.ts';

/** A lease that was not renewed for this long is dead. */
export const leaseLifetimeMs = 10 * 60_000;
const renewEveryMs = 60_000;

export interface LeaseFacts {
  readonly run: string;
  readonly kind: string;
  /** Backups that must stay while the run is alive. */
  readonly uses: readonly string[];
  /** By the store's clock. */
  readonly began: Date;
  readonly renewed: Date;
}

interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

export class Lease {
  readonly run = randomHex(8);
  readonly #driver: StorageDriver;
  readonly #clock: Clock;
  readonly #body: Uint8Array;
  #number = 0;
  #renewedAt: Moment;
  /** It was dead for a while: what it protected may be gone, whatever came after. */
  #lapsed = false;
  #timer: NodeJS.Timeout | undefined;
  #renewal: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(driver: StorageDriver, clock: Clock, body: Uint8Array) {
    this.#driver = driver;
    this.#clock = clock;
    this.#body = body;
    this.#renewedAt = this.#moment();
  }

  /** Durable when it resolves: what is read from the repository after that is protected. */
  static async acquire(
    driver: StorageDriver,
    clock: Clock,
    facts: { kind: string; uses: readonly string[] },
  ): Promise<Lease> {
    const began = await driver.now();
    const lease = new Lease(
      driver,
      clock,
      Buffer.from(JSON.stringify({ ...facts, began, holder: thisProcess() })),
    );
    await lease.#renew();
    lease.#timer = setInterval(() => {
      lease.#renewal = lease.#renew().catch(() => undefined);
    }, renewEveryMs);
    lease.#timer.unref();
    return lease;
  }

  /** Throws BACKUP_EXPIRED_LEASE when the lease is too old for a commit that relies on it. */
  assertLive(): void {
    const age = this.#since(this.#renewedAt);
    if (age < leaseLifetimeMs / 2 && !this.#lapsed) return;
    throw new HelvinoError(
      'BACKUP_EXPIRED_LEASE',
      this.#lapsed
        ? `the lease was not renewed for more than ${leaseLifetimeMs / 60_000} minutes`
        : `the lease was last renewed ${Math.round(age / 1000)} s ago`,
      {
        hint: 'the store could not be written for a while, or the machine slept; run the backup again',
      },
    );
  }

  /** Ends the lease. Failing to remove it is harmless: it dies by age. */
  async release(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#renewal;
    try {
      for (let n = Math.max(1, this.#number - 1); n <= this.#number; n++)
        await this.#driver.remove(this.#name(n));
    } catch {
      // a credential without the right to delete
    }
  }

  async #renew(): Promise<void> {
    if (this.#closed) return;
    const asked = this.#moment();
    const next = this.#number + 1;
    // It exists when an earlier try stored it and the answer got lost: a renewal of then, not of now.
    const stored = await this.#put(next);
    if (this.#since(this.#renewedAt) > leaseLifetimeMs) this.#lapsed = true;
    if (stored) this.#renewedAt = asked;
    this.#number = Math.max(this.#number, next);
    if (next > 2) await this.#driver.remove(this.#name(next - 2)).catch(() => undefined);
  }

  #moment(): Moment {
    return { monotonic: this.#clock.monotonic(), wall: this.#clock.now().getTime() };
  }

  /** Milliseconds. Monotonic time stands still while the machine sleeps, the wall clock may be set: the larger counts. */
  #since({ monotonic, wall }: Moment): number {
    return Math.max(this.#clock.monotonic() - monotonic, this.#clock.now().getTime() - wall);
  }

  /** False when the object was there. */
  async #put(n: number): Promise<boolean> {
    try {
      await this.#driver.put(this.#name(n), [this.#body], { ifAbsent: true });
      return true;
    } catch (thrown) {
      if (thrown instanceof HelvinoError && thrown.code === 'STORAGE_EXISTS') return false;
      throw thrown;
    }
  }

  #name(n: number): string {
    return `${leasesPrefix}${this.run}/${String(n).padStart(8, '0')}`;
  }
}

/** Leases that are alive; with `removeDead`, the objects of dead ones are removed. */
export async function liveLeases(
  driver: StorageDriver,
  options: { removeDead?: boolean } = {},
): Promise<LeaseFacts[]> {
  const now = (await driver.now()).getTime();
  const runs = new Map<string, { last: Date; name: string; names: string[] }>();
  for await (const object of driver.list(leasesPrefix)) {
    const run = object.name.slice(leasesPrefix.length).split('/')[0]!;
    const known = runs.get(run);
    if (known)
      runs.set(run, {
        ...known,
        last: object.modified,
        name: object.name,
        names: [...known.names, object.name],
      });
    else runs.set(run, { last: object.modified, name: object.name, names: [object.name] });
  }
  const live: LeaseFacts[] = [];
  for (const [run, { last, name, names }] of runs) {
    const body = await readLease(driver, name);
    if (body === undefined) continue;
    if (now - last.getTime() > leaseLifetimeMs || isDead(body.holder)) {
      if (options.removeDead) for (const dead of names) await driver.remove(dead);
      continue;
    }
    live.push({ run, kind: body.kind, uses: body.uses, began: body.began ?? new Date(0), renewed: last });
  }
  return live;
}

interface LeaseBody {
  readonly kind: string;
  readonly uses: string[];
  readonly began?: Date;
  readonly holder?: Holder;
}

/** Undefined when the lease ended between listing and reading. */
async function readLease(driver: StorageDriver, name: string): Promise<LeaseBody | undefined> {
  try {
    const body = JSON.parse(Buffer.from(await driver.get(name)).toString('utf8')) as Record<string, unknown>;
    const began = typeof body.began === 'string' ? new Date(body.began) : undefined;
    const uses = Array.isArray(body.uses) ? body.uses.map(String) : [];
    return { kind: String(body.kind), uses, began, holder: body.holder as Holder | undefined };
  } catch (thrown) {
    if (thrown instanceof HelvinoError && thrown.code === 'STORAGE_NOT_FOUND') return undefined;
    // A lease that cannot be read still says that someone is alive.
    return { kind: 'unknown', uses: [] };
  }
}
